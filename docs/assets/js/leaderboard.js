// The leaderboard's choice of a board, its order and its live charts. The page is complete without
// it: every board is there with its table and a picture.

import { make, onReturn, read, shown, working, write } from "./state.js";

const LIMIT = 200; // rows drawn at first: the browser lays out thousands only when asked to

const form = document.querySelector(".atlas-choice");
const boards = [...document.querySelectorAll(".atlas-one")];
const source = document.querySelector("#atlas-charts");
const drawing = source ? JSON.parse(source.textContent) : { charts: {}, boards: {} };

/** A table that can be put in order by any column, and back into its families. */
class Table {
  constructor(section) {
    this.table = section.querySelector("table.atlas-board");
    this.order = section.querySelector(".atlas-order");
    this.select = this.order.querySelector("select");
    this.turn = this.order.querySelector(".atlas-turn");
    this.heads = [...this.table.tHead.rows[0].cells];
    this.groups = [...this.table.tBodies].slice(1).map(body => ({
      body, heading: body.rows[0], rows: [...body.rows].slice(1),
    }));
    this.rows = this.groups.flatMap(group => group.rows);
    for (const head of this.heads) {
      const button = make("button", { type: "button" }, head.textContent);
      button.addEventListener("click", () => set({ sort: head.dataset.sort, order: this.next(head) }));
      head.replaceChildren(button);
      this.select.append(make("option", { value: head.dataset.sort }, button.textContent));
    }
    this.select.addEventListener("change", () => set({ sort: this.select.value, order: "" }));
    this.turn.addEventListener("click", () => set({ order: this.next(this.head(this.select.value)) }));
    this.order.hidden = false;
    this.more = make("button", { type: "button" });
    this.rest = make("p", { class: "atlas-controls" }, this.more);
    this.more.addEventListener("click", () => {
      this.all = true;
      show();
    });
    this.table.after(this.rest);
  }

  head(key) {
    return this.heads.find(head => head.dataset.sort === key);
  }

  /** The direction that choosing a column gives: its better end first, then the other. */
  next(head) {
    const first = "down" in head.dataset ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    return head.ariaSort === first ? other : first;
  }

  show(state, kinds) {
    const head = this.head(state.get("sort"));
    const asked = state.get("order");
    const order = !head ? "" : ["ascending", "descending"].includes(asked) ? asked
      : "down" in head.dataset ? "descending" : "ascending";
    for (const other of this.heads) other.ariaSort = other === head ? order : null;
    this.select.value = head ? head.dataset.sort : "";
    this.turn.hidden = !head;
    this.turn.textContent = order === "ascending" ? "↑ smallest first" : "↓ largest first";
    this.table.classList.toggle("is-sorted", Boolean(head));
    const rows = head ? this.sorted(this.heads.indexOf(head), order) : this.rows;
    const wanted = rows.filter(row => kinds.has(row.dataset.family));
    const shown = new Set(this.all ? wanted : wanted.slice(0, LIMIT));
    for (const row of rows) row.hidden = !shown.has(row);
    for (const group of this.groups) {
      group.heading.hidden = Boolean(head) || group.rows.every(row => row.hidden);
      if (!head) group.body.append(...group.rows);
    }
    if (head) this.groups.at(-1).body.append(...rows);
    this.rest.hidden = shown.size === wanted.length;
    this.more.textContent = `Show all ${wanted.length.toLocaleString("en")} rows`;
  }

  sorted(place, order) {
    const sign = order === "ascending" ? 1 : -1;
    const value = row => row.cells[place].dataset.value;
    const number = text => text === "inf" ? Infinity : Number(text);
    const keyed = this.rows.map(row => ({ row, value: value(row) }));
    return keyed.sort((a, b) => {
      // What was not measured stands last, whichever way.
      if (a.value === undefined || b.value === undefined) {
        return (a.value === undefined) - (b.value === undefined);
      }
      return sign * (place ? number(a.value) - number(b.value) : a.value.localeCompare(b.value));
    }).map(({ row }) => row);
  }
}

/** The chart of a board: a picture until Vega is there, then points to look at and to follow. */
class Chart {
  constructor(section) {
    this.figure = section.querySelector(".atlas-chart");
    this.stage = this.figure.querySelector(".atlas-stage");
    this.readout = this.figure.querySelector(".atlas-readout");
    this.leftOut = this.figure.querySelector(".atlas-left-out");
    this.points = drawing.boards[section.id];
    this.stage.addEventListener("keydown", event => this.key(event));
    this.stage.addEventListener("blur", () => this.choose(null));
    this.title = section.querySelector("h2").textContent;
    new ResizeObserver(() => this.fit()).observe(this.stage);
  }

  async show(kind, label, kinds) {
    this.asked = `${kind} ${[...kinds]}`;
    const { parse, View, expressionInterpreter } = await import("./vega.js");
    if (this.asked !== `${kind} ${[...kinds]}`) return; // something else was asked for meanwhile
    const families = drawing.charts[kind].scales.find(scale => scale.name === "colour").domain;
    const shown = this.points.filter(point => kinds.has(String(families.indexOf(point.family))));
    this.placed = shown.filter(point => point[kind] !== null)
      .sort((a, b) => a[kind] - b[kind] || a.ratio - b.ratio);
    const spec = { ...drawing.charts[kind], ...this.size() };
    this.width = spec.width;
    spec.data = spec.data.map(data => data.name === "points" ? { ...data, values: shown } : data);
    this.view?.finalize();
    this.live?.remove();
    this.live = make("div", { class: "atlas-live", "aria-hidden": "true" });
    this.stage.append(this.live);
    this.stage.classList.add("is-live");
    this.leftOut.textContent = this.missing(kind, shown.length - this.placed.length);
    this.readout.hidden = false;
    this.place = -1;
    this.choose(null);
    if (!this.placed.length) return;
    this.view = new View(parse(spec, null, { ast: true }), {
      container: this.live, expr: expressionInterpreter, renderer: "svg", tooltip: () => {},
    });
    const over = item => item?.datum?.id ? item.datum : null;
    this.view.addEventListener("mouseover", (_, item) => over(item) && this.choose(over(item)));
    this.view.addEventListener("mouseout", (_, item) => over(item) && this.choose(null));
    this.view.addEventListener("click", (_, item) => over(item) && location.assign(over(item).href));
    for (const [name, value] of Object.entries({
      tabindex: "0",
      role: "application",
      "aria-roledescription": "chart",
      "aria-label": `${this.title}: quality against ${label.toLowerCase()}, ${this.placed.length} `
        + "points. The arrow keys go from point to point, Enter opens the record. The table below "
        + "has the same numbers.",
    })) this.stage.setAttribute(name, value);
    await this.view.runAsync();
  }

  missing(kind, count) {
    if (!count) return "";
    const why = kind === "speed" ? ": no speed-up expected on dense kernels, or speed not measured" : "";
    return `${count} of the results shown in the table ${count === 1 ? "is" : "are"} not in this chart${why}.`;
  }

  size() {
    const width = this.stage.clientWidth;
    return { width, height: Math.round(Math.min(440, Math.max(360, width * 0.5))) };
  }

  fit() {
    const { width, height } = this.size();
    if (!this.view || !width || width === this.width) return;
    this.width = width;
    this.view.width(width).height(height).resize().runAsync();
  }

  choose(point) {
    this.place = point ? this.placed.findIndex(other => other.id === point.id) : -1;
    if (this.view && this.placed.length) this.view.signal("chosen", point).runAsync();
    this.readout.replaceChildren(...(point
      ? [make("strong", {}, point.title), `; ${point.more}. `, make("a", { href: point.href, tabindex: "-1" }, "Record and command")]
      : ["Point at a mark to read it; a click opens its record. By keyboard: arrow keys and Enter."]));
  }

  key(event) {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    const last = this.placed.length - 1;
    if (step) {
      const from = this.place < 0 ? (step > 0 ? -1 : last + 1) : this.place;
      this.choose(this.placed[Math.min(last, Math.max(0, from + step))]);
    } else if (event.key === "Home" || event.key === "End") {
      this.choose(this.placed[event.key === "Home" ? 0 : last]);
    } else if (event.key === "Enter" && this.place >= 0) {
      location.assign(this.placed[this.place].href);
    } else if (event.key === "Escape") {
      this.choose(null);
    } else return;
    event.preventDefault();
  }
}

const tables = new Map(boards.map(section => [section, new Table(section)]));
const charts = new Map(boards.filter(section => section.querySelector(".atlas-chart"))
  .map(section => [section, new Chart(section)]));
const [protocol, place] = form ? form.querySelectorAll("select") : [];
const kindButtons = form ? [...form.querySelectorAll(".atlas-against button")] : [];
const boxes = [...document.querySelectorAll(".atlas-one .atlas-key li")].map(item => {
  const box = make("input", { type: "checkbox", value: item.dataset.family });
  item.replaceChildren(make("label", {}, box, ...item.childNodes));
  return box;
});

/** Change some of the state, and show it; an empty value is the default and leaves the address. */
function set(changes) {
  const state = read();
  for (const [name, value] of Object.entries(changes)) {
    if (value) state.set(name, value);
    else state.delete(name);
  }
  write(state);
  show();
}

let turn = 0;

async function show() {
  working();
  const mine = ++turn;
  const state = read();
  const among = boards.filter(board => board.dataset.protocol === state.get("protocol"));
  const group = among.length ? among
    : boards.filter(board => board.dataset.protocol === boards[0].dataset.protocol);
  const chosen = group.find(board => board.dataset.place === state.get("on")) ?? group[0];
  protocol.value = chosen.dataset.protocol;
  place.replaceChildren(...group.map(board =>
    make("option", { value: board.dataset.place }, board.dataset.label)));
  place.value = chosen.dataset.place;
  for (const board of boards) board.hidden = board !== chosen;
  const button = kindButtons.find(one => one.value === state.get("chart")) ?? kindButtons[0];
  for (const one of kindButtons) one.ariaPressed = String(one === button);
  const hidden = new Set(state.get("hide")?.split(","));
  for (const box of boxes) box.checked = !hidden.has(box.value);
  const kinds = new Set(["0", "1", "2", "3"].filter(kind => !hidden.has(kind)));
  tables.get(chosen).show(state, kinds);
  await charts.get(chosen)?.show(button.value, button.textContent, kinds);
  if (mine === turn) shown(); // unless something else was asked for meanwhile
}

if (form) {
  form.addEventListener("submit", event => event.preventDefault());
  protocol.addEventListener("change", () => set({ protocol: protocol.value, on: "" }));
  place.addEventListener("change", () => set({ protocol: protocol.value, on: place.value }));
  for (const button of kindButtons) {
    button.addEventListener("click", () => set({ chart: button === kindButtons[0] ? "" : button.value }));
  }
  for (const box of boxes) {
    box.addEventListener("change", () => {
      const hidden = new Set(read().get("hide")?.split(","));
      if (box.checked) hidden.delete(box.value);
      else hidden.add(box.value);
      set({ hide: [...hidden].sort().join(",") });
    });
  }
  onReturn(show);
  form.hidden = false;
  show();
} else shown();
