// A board of the leaderboard: filters, columns, sorting, chart and comparison. The page is readable
// without it. The data is loaded when the reader approaches the controls.

import { lines, sheet } from "./board-export.js";
import { Chart, drawing } from "./board-chart.js";
import { comparison, MOST } from "./board-comparison.js";
import { Table } from "./board-table.js";
import { save } from "./files.js";
import { menus } from "./menus.js";
import { make, onReturn, once, read, shown, skipTo, working, write } from "./state.js";

const MENUS = ["m", "needs", "class", "fidelity"]; // check boxes that narrow the rows
const FIELDS = { m: "method" }; // the field of a row, if it is not the name of the menu

const section = document.querySelector(".atlas-one");
const json = address => fetch(address).then(answer => {
  if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
  return answer.json();
});

/** Wait for the next paint. */
const painted = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));

function board() {
  const form = section.querySelector(".atlas-choice");
  const output = form.querySelector("output");
  const kinds = [...section.querySelectorAll(".atlas-against button")];
  const columns = [...section.querySelectorAll("[name=columns]")];
  const usual = columns.filter(box => box.defaultChecked).map(box => box.value);
  const families = [...section.querySelectorAll(".atlas-key li")].map(item => {
    const box = make("input", { type: "checkbox", name: "hide", value: item.dataset.family, checked: "" });
    item.replaceChildren(make("label", {}, box, ...item.childNodes));
    return box;
  });
  const links = [...document.querySelectorAll(".atlas-boards a")].map(link => [link, link.getAttribute("href")]);
  const table = new Table(section, set);
  const chart = section.querySelector(".atlas-chart") ? new Chart(section, wake) : null;
  const beside = section.querySelector(".atlas-comparison");
  const bar = section.querySelector(".atlas-comparison__bar");
  const total = output.textContent.split(" ").at(-2);
  let order; // the rows in the table, once drawn
  let known; // the methods that have facts, once loaded
  let asked = chart?.pictured === false;
  let turn = 0;

  const load = once(() => Promise.all([json(section.dataset.rows), json(section.dataset.charts)]));
  const loadFacts = once(() => json(beside.dataset.methods));

  /** Load the data before the first choice; if that fails, the choice reports it. */
  const warm = () => Promise.all([load(), chart && drawing()]).catch(() => {});

  const chosen = name => [...form.querySelectorAll(`[name="${name}"]:checked`)].map(box => box.value);
  const shares = () => chosen("share")[0] ?? "";
  const compared = () => [...new Set(read().get("compare")?.split(",").filter(slug =>
    slug && (!known || Object.hasOwn(known, slug))))].slice(0, MOST);
  const picked = () => new Set(columns.filter(box => box.checked).map(box => box.value));

  /** Change the state and show it; empty values are defaults and leave the address. */
  function set(changes) {
    const state = read();
    for (const [name, value] of Object.entries(changes)) {
      if (value) state.set(name, value);
      else state.delete(name);
    }
    asked = true;
    write(state);
    return show();
  }

  function wake() {
    asked = true;
    return show();
  }

  /** Set the controls from the address; unknown values are ignored. */
  function restore(state) {
    const listed = name => new Set(state.get(name)?.split(","));
    for (const box of form.querySelectorAll("[name=share]")) {
      box.checked = box.value === (state.get("share") ?? "") && !box.disabled;
    }
    if (!chosen("share").length) form.querySelector("[name=share]").checked = true;
    for (const name of MENUS) {
      const values = listed(name);
      for (const box of form.querySelectorAll(`[name="${name}"]`)) box.checked = values.has(box.value);
    }
    const hidden = listed("hide");
    for (const box of families) box.checked = !hidden.has(box.value);
    const wanted = state.has("columns") ? listed("columns") : new Set(usual);
    for (const box of columns) box.checked = wanted.has(box.value);
    for (const menu of form.querySelectorAll(".atlas-menu")) {
      const count = menu.querySelectorAll(":checked").length;
      menu.classList.toggle("atlas-menu--chosen", count > 0);
      menu.querySelector("summary .atlas-count").textContent = count || "";
    }
    const kind = kinds.find(one => one.value === state.get("chart")) ?? kinds[0];
    for (const one of kinds) one.ariaPressed = String(one === kind);
    for (const [link, href] of links) link.href = href + location.search;
    return kind;
  }

  /** Tick the rows of the methods that are compared. */
  function tick() {
    const slugs = compared();
    for (const box of section.querySelectorAll("[name=compare]")) {
      box.checked = slugs.includes(box.value);
      box.disabled = !box.checked && slugs.length >= MOST;
    }
  }

  /** Show the methods that the address names side by side. */
  async function compare({ equal, rows }) {
    const { labels, methods } = compared().length ? await loadFacts() : {};
    known ??= methods;
    const slugs = compared();
    const share = shares();
    const those = rows.filter(row => !share || share === "all" || row.share === share);
    beside.replaceChildren(...(slugs.length > 1
      ? [make("h2", {}, "Comparison"),
        make("p", { class: "atlas-controls" }, make("button", { type: "button", value: "clear" }, "Clear")),
        comparison(slugs, { labels, methods }, { rows: those, equal }, table.heads, picked(), section.dataset.up)]
      : []));
    beside.hidden = slugs.length < 2;
    bar.hidden = !slugs.length;
    bar.querySelector("strong").textContent = slugs.map(slug => methods[slug].name).join(", ");
    bar.querySelector("span").hidden = slugs.length > 1;
    bar.querySelector("[value=show]").hidden = slugs.length < 2;
  }

  /** The rows that match the filters, and all rows of their methods that match without the share. */
  function filtered({ chips, rows }) {
    const wanted = MENUS.map(name => [FIELDS[name] ?? name, new Set(chosen(name))]).filter(([, values]) => values.size);
    const seen = new Set(families.filter(box => box.checked).map(box => Number(box.value)));
    const every = rows.filter(row => seen.has(row.family) && wanted.every(([field, values]) => values.has(row[field])));
    const has = {
      "": row => row.overview || wanted.length > 0,
      all: () => true,
      other: row => !chips.includes(row.share),
    }[shares()] ?? (row => row.share === shares());
    const those = every.filter(has);
    const methods = new Set(those.map(row => row.method));
    return [those, every.filter(row => methods.has(row.method))];
  }

  async function show() {
    working();
    const mine = ++turn;
    const state = read();
    const kind = restore(state);
    if (!shares()) state.delete("share"); // the board does not have it
    table.restore(state);
    table.table.classList.toggle("has-columns", state.has("columns") || state.has("sort"));
    tick();
    if (asked || [...state.keys()].length) {
      asked = true;
      try {
        const [rows, charts] = await load();
        if (mine !== turn) return; // the state has changed meanwhile
        const [those, every] = filtered(rows);
        order = table.show(rows, those, picked());
        await compare(rows);
        if (mine !== turn) return;
        tick();
        output.textContent = `${those.length.toLocaleString("en")} of ${total} rows`;
        await painted(); // the table first: the chart takes longer
        if (mine !== turn) return;
        // The chart against size shows the methods of the table at all shares.
        if (chart) {
          const points = (kind.value === "size" ? every : those)
            .filter(row => row.point !== null).map(row => rows.points[row.point]);
          const missing = those.filter(row => (rows.points[row.point]?.[kind.value] ?? null) === null);
          const pictured = kind === kinds[0] && !["share", "hide", ...MENUS].some(name => state.get(name));
          await chart.show(charts[kind.value], kind, points, { missing: missing.length, pictured });
        }
      } catch (error) {
        console.error(error);
        if (mine === turn) output.textContent = "The rows could not be loaded. Try again.";
      }
    }
    if (mine === turn) shown();
  }

  async function keep(kind) {
    if (!order) await wake();
    const objects = lines(order, table.heads, picked());
    const name = `${section.id}${shares() ? `-${shares().replace(":", "-")}` : ""}`;
    if (kind === "csv") save(sheet(objects), `${name}.csv`, "text/csv");
    else {
      const about = { board: section.querySelector("h2").textContent, address: location.href, rows: objects };
      save(`${JSON.stringify(about, null, 1)}\n`, `${name}.json`, "application/json");
    }
  }

  section.addEventListener("change", ({ target: { name, value, checked } }) => {
    if (name === "share") set({ share: shares(), sort: "", order: "" });
    else if (MENUS.includes(name)) set({ [name]: chosen(name).join(",") });
    else if (name === "compare") {
      const slugs = compared();
      set({ compare: (checked ? [...slugs, value] : slugs.filter(slug => slug !== value)).join(",") });
    } else if (name === "hide") set({ hide: families.filter(box => !box.checked).map(box => box.value).join(",") });
    else if (name === "columns") {
      const now = [...picked()].join(",");
      set({ columns: now === usual.join(",") ? "" : now || "none" });
    }
  });
  section.addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (button?.value === "clear") set({ compare: "" });
    else if (button?.value === "show") beside.scrollIntoView();
    else if (button?.value === "csv" || button?.value === "json") keep(button.value);
  });
  for (const button of kinds) {
    button.addEventListener("click", () => set({ chart: button === kinds[0] ? "" : button.value }));
  }
  // The bar is for when the comparison is out of sight.
  new IntersectionObserver(([{ isIntersecting }]) => bar.classList.toggle("is-in-sight", isIntersecting)).observe(beside);
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("reset", event => {
    event.preventDefault();
    asked = true;
    write(new URLSearchParams());
    show();
  });
  onReturn(show);
  skipTo(() => section.querySelector("tr[data-family] th a") ?? section.querySelector("tbody a"));
  for (const part of section.querySelectorAll(".atlas-controls, .atlas-key, thead")) {
    for (const near of ["pointerenter", "focusin"]) part.addEventListener(near, warm, { once: true });
  }
  for (const part of section.querySelectorAll(".atlas-choice, .atlas-drawn")) part.hidden = false;
  show();
}

if (section) {
  menus([...document.querySelectorAll(".atlas-menu")]);
  board();
} else shown();
