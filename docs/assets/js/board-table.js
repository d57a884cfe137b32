// The table of a board: sorting and columns. The rows in the page stay until the reader changes
// them.

import { make } from "./state.js";

export const LIMIT = 100; // rows drawn at first
const KIND = "kind"; // the order of the page: by group, then rank

/** A value of the data as a number; undefined if missing. */
export function number(value) {
  const found = value === "inf" ? Infinity : value;
  return typeof found === "number" ? found : undefined;
}

/** The contents of a cell: its text, then its note in small type. */
export function noted([, text = "", note = ""] = []) {
  const small = note ? [make("span", { class: "spread" }, note)] : [];
  return text && note ? [text, " ", ...small] : [...(text ? [text] : []), ...small];
}

export class Table {
  /** `set` changes the state of the page. */
  constructor(section, set) {
    this.section = section;
    this.table = section.querySelector("table.atlas-board");
    this.heads = [...this.table.tHead.rows[0].cells];
    const order = section.querySelector(".atlas-order");
    this.select = order.querySelector("select");
    this.turn = order.querySelector(".atlas-turn");
    for (const head of this.heads) {
      const label = head.dataset.sort === "rank" ? "rank" : head.textContent;
      const button = make("button", { type: "button" }, head.textContent);
      if (label !== head.textContent) button.ariaLabel = label;
      button.addEventListener("click", () => set({ sort: head.dataset.sort, order: this.next(head) }));
      head.replaceChildren(button);
      this.select.append(make("option", { value: head.dataset.sort }, label));
    }
    this.select.addEventListener("change", () => set({ sort: this.select.value, order: "" }));
    this.turn.addEventListener("click", () =>
      set({ sort: this.select.value, order: this.next(this.head(this.select.value)) }));
    order.hidden = false;
    for (const row of this.table.querySelectorAll("tr[data-family]")) {
      const { pathname, textContent } = row.cells[1].querySelector("a");
      this.tickable(row, pathname.match(/([^/]+)\.html$/)[1], textContent);
    }
    this.more = make("button", { type: "button" });
    this.rest = make("p", { class: "atlas-controls" }, this.more);
    this.more.addEventListener("click", () => {
      this.all = true;
      set({});
    });
    section.querySelector(".atlas-rest")?.remove();
    this.table.after(this.rest);
  }

  /** Add a check box before the name of a row that adds its method to the comparison. */
  tickable(row, slug, name) {
    const box = make("input", { type: "checkbox", name: "compare", value: slug, "aria-label": `Compare ${name}` });
    row.cells[1].prepend(make("label", { class: "atlas-tick" }, box));
    return row;
  }

  head(key) {
    return this.heads.find(head => head.dataset.sort === key);
  }

  /** The sort direction after a click: better values first, then reversed. */
  next(head) {
    const first = "down" in head.dataset ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    return head.ariaSort === first ? other : first;
  }

  /** Show the order of the state. */
  restore(state) {
    const asked = state.get("sort") ?? KIND;
    const head = this.head(asked);
    this.order = !head ? "" : ["ascending", "descending"].includes(state.get("order"))
      ? state.get("order") : "down" in head.dataset ? "descending" : "ascending";
    for (const other of this.heads) other.ariaSort = other === head ? this.order : null;
    this.key = head ? asked : KIND;
    this.select.value = this.key;
    this.turn.hidden = !head;
    this.turn.textContent = this.order === "ascending" ? "↑ smallest first" : "↓ largest first";
    this.table.classList.toggle("is-sorted", Boolean(head));
    this.count(0);
  }

  count(count) {
    this.rest.hidden = this.all || count <= LIMIT;
    this.more.textContent = `Show all ${count.toLocaleString("en")} rows`;
  }

  /** The check boxes of the same method. */
  boxes(box) {
    return [...this.table.querySelectorAll("[name=compare]")].filter(one => one.value === box?.value);
  }

  /** Draw rows with some of the columns; returns them in their order. */
  show(data, rows, columns) {
    this.data = data;
    const ordered = this.key === KIND ? rows : this.sorted(rows);
    const drawn = this.all ? ordered : ordered.slice(0, LIMIT);
    const hidden = this.heads.map(({ dataset, classList }) =>
      classList.contains("number") && dataset.sort !== "rank" && !columns.has(dataset.sort));
    for (const one of [this.table.tHead.rows[0], this.table.tBodies[0].rows[0], ...drawn.map(row =>
      row.element ??= this.made(row))]) {
      [...one.cells].forEach((cell, place) => { cell.hidden = hidden[place]; });
    }
    this.table.classList.add("is-picked");
    const focused = this.table.contains(document.activeElement) ? document.activeElement : null;
    const place = this.boxes(focused).indexOf(focused);
    for (const body of [...this.table.tBodies].slice(1)) body.remove();
    this.table.append(...(this.key === KIND ? this.grouped(drawn)
      : [make("tbody", {}, ...drawn.map(row => row.element))]));
    // Rows that move lose the focus, and the rows of the page are replaced.
    if (place >= 0) this.boxes(focused)[place]?.focus({ preventScroll: true });
    this.count(rows.length);
    return ordered;
  }

  grouped(rows) {
    return this.data.groups.flatMap(([name, note], group) => {
      const own = rows.filter(row => row.group === group).map(row => row.element);
      if (!own.length) return [];
      const head = make("th", { scope: "rowgroup", colspan: this.heads.length }, name);
      if (note) head.append(" ", make("span", { class: "note" }, note));
      return [make("tbody", {}, make("tr", { class: "family" }, head), ...own)];
    });
  }

  made(row) {
    const { up } = this.section.dataset;
    const mark = this.section.querySelector(`.atlas-key [data-family="${row.family}"] svg`);
    const cells = this.heads.slice(3, -1).map(({ dataset, textContent }, place) => {
      const [, text, note, , title] = row.cells[place];
      const cell = make("td", { class: "number", ...(text || note ? { "data-label": textContent } : {}) });
      if (title) cell.title = title;
      if (dataset.sort === "ratio" && row.collapsed) {
        cell.append(make("span", { class: "atlas-tag atlas-tag--warn" }, "collapsed"), " ");
      }
      cell.append(...noted(row.cells[place]));
      return cell;
    });
    const records = row.records.flatMap(([seed, address], place) =>
      [place ? ", " : "", make("a", { href: up + address }, `seed ${seed}`)]);
    const made = make("tr", { "data-family": row.family, ...(row.collapsed ? { class: "collapsed" } : {}) },
      make("td", { class: "number rank", ...(row.rank ? { "data-label": "#" } : {}) }, row.rank),
      make("th", { scope: "row" }, mark.cloneNode(true),
        make("a", { href: `${up}papers/${row.method}.html` }, row.name),
        ...(row.note ? [make("span", { class: "spread" }, row.note)] : [])),
      make("td", { class: "removed" }, ...noted(row.removed)),
      ...cells,
      make("td", { "data-label": "Records" }, ...records, " ",
        make("button", { type: "button", class: "atlas-copy", "data-clipboard-text": row.command }, "copy command")));
    return this.tickable(made, row.method, row.name);
  }

  sorted(rows) {
    const sign = this.order === "ascending" ? 1 : -1;
    const place = this.heads.indexOf(this.head(this.key)) - 3;
    const value = {
      rank: row => (row.rank ? parseInt(row.rank, 10) : undefined),
      method: row => row.name,
      removed: row => number(row.removed[0]),
      seeds: row => row.records.length,
    }[this.key] ?? (row => number(row.cells[place][0]));
    const keyed = rows.map(row => ({ row, value: value(row) }));
    return keyed.sort((a, b) => {
      // Missing values come last in both directions.
      if (a.value === undefined || b.value === undefined) {
        return (a.value === undefined) - (b.value === undefined);
      }
      return sign * (this.key === "method" ? a.value.localeCompare(b.value) : a.value - b.value);
    }).map(({ row }) => row);
  }
}
