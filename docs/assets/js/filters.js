// Menus that filter the marked parts of a page, which is complete without them. Each part has its
// values, separated by |, as attributes with the names of the menus. Rows of a table whose head has
// sort keys are sorted within their part.

import { drive, make, read, shown, skipTo, write } from "./state.js";

const form = document.querySelector(".atlas-selects");

function filter() {
  const fields = [...form.querySelectorAll("select")];
  const count = form.querySelector("strong");
  const none = document.querySelector(".atlas-selects-none");
  // Containers that are hidden when nothing is left in them, the outer ones first.
  const parts = [...document.querySelectorAll("[data-part]")];
  const items = [...document.querySelectorAll("[data-filtered]")].map(element => ({
    element,
    rows: [...element.querySelectorAll("tr[data-marked]")],
    has: Object.fromEntries(fields.map(({ name }) => [name, element.dataset[name].split("|")])),
  }));

  const heads = [...document.querySelectorAll("[data-part] thead [data-sort]")];
  const { compare } = new Intl.Collator("en", { sensitivity: "base" });
  let sorted = ""; // the key of a column, after a minus if descending
  let ordered = ""; // the order of the rows now

  const holds = (item, name, value) => !value || item.has[name].includes(value);
  const match = (item, but) => fields.every(({ name, value }) => name === but || holds(item, name, value));

  /** Sort the rows of each part by the text or number of a cell; rows without one come last. */
  function order() {
    if (ordered === sorted) return;
    ordered = sorted;
    const [, back, key] = sorted.match(/^(-?)(.*)$/);
    const column = heads.find(head => head.dataset.sort === key);
    for (const head of heads) {
      head.ariaSort = head === column ? (back ? "descending" : "ascending") : null;
    }
    const value = row => {
      const text = column ? row.cells[column.cellIndex].textContent : "";
      return column?.classList.contains("number") && text
        ? parseFloat(text.replaceAll(",", "").replace("∞", "Infinity")) : text;
    };
    const sign = back ? -1 : 1;
    for (const { element, rows } of items) {
      const values = new Map(rows.map(row => [row, value(row)]));
      element.append(...[...rows].sort((a, b) => {
        const [x, y] = [values.get(a), values.get(b)];
        if (x === "" || y === "") return Number(x === "") - Number(y === "");
        return sign * (typeof x === "string" ? compare(x, y) : x - y || 0);
      }));
    }
  }

  function show() {
    order();
    const found = items.filter(item => match(item));
    for (const { element } of items) element.hidden = true;
    for (const { element } of found) element.hidden = false;
    for (const part of parts) part.hidden = !part.querySelector("[data-filtered]:not([hidden])");
    const method = form.elements.method.value;
    for (const row of document.querySelectorAll("[data-marked]")) {
      row.classList.toggle("atlas-marked", row.dataset.marked === method);
    }
    // Disable choices that would leave nothing.
    for (const { name, options, value } of fields) {
      const left = items.filter(item => match(item, name));
      for (const option of options) {
        option.disabled = option.value !== value && !left.some(item => holds(item, name, option.value));
      }
    }
    count.textContent = found.length;
    none.hidden = found.length > 0;
    shown();
  }

  /** Read the choices from the address; unknown values are ignored. */
  function restore() {
    const asked = read();
    for (const field of fields) {
      field.value = asked.get(field.name) ?? "";
      if (field.selectedIndex < 0) field.value = "";
    }
    sorted = asked.get("sort") ?? "";
    if (!heads.some(({ dataset }) => dataset.sort === sorted.replace("-", ""))) sorted = "";
    show();
  }

  function change() {
    const state = fields.filter(field => field.value).map(({ name, value }) => [name, value]);
    write(new URLSearchParams(sorted ? [...state, ["sort", sorted]] : state));
    show();
  }

  for (const head of heads) {
    const button = make("button", { type: "button" }, head.textContent);
    button.addEventListener("click", () => {
      sorted = sorted === head.dataset.sort ? `-${sorted}` : head.dataset.sort;
      change();
    });
    head.replaceChildren(button);
  }
  drive(form, {
    change,
    empty() {
      sorted = "";
      for (const field of fields) field.value = "";
    },
    restore,
  });
  const first = "tr[data-filtered]:not([hidden]) th a, [data-filtered]:not([hidden]) [data-marked] th a";
  skipTo(() => document.querySelector(first) ?? fields[0]);
  form.hidden = false;
  restore();

  /** Show the target of the address, which a filter may have hidden or moved. */
  function reveal() {
    const target = document.getElementById(location.hash.slice(1));
    if (target?.closest("[hidden]")) form.reset();
    target?.scrollIntoView();
  }
  addEventListener("hashchange", reveal);
  if (location.hash && location.search) reveal();
}

if (form) filter();
else shown();
