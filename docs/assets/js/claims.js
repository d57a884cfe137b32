// Filters and order of the claims. The page is complete without them. Each group of rows has its
// model, sparsity, metric and methods as attributes; rows are sorted within their group.

import { drive, make, read, shown, skipTo, write } from "./state.js";

const form = document.querySelector(".atlas-claim-filter");

function filter() {
  const fields = [...form.querySelectorAll("select")];
  const count = form.querySelector("strong");
  const none = document.querySelector(".atlas-claim-none");
  const table = document.querySelector(".atlas-claim-tables");
  const groups = [...table.tBodies].map(body => {
    const { model, share, metric, methods } = body.dataset;
    const rows = [...body.querySelectorAll("[data-method]")];
    return { body, rows, has: { model: [model], share: [share], metric: [metric], method: methods.split(" ") } };
  });
  const heads = [...table.tHead.rows[0].cells].filter(head => head.dataset.sort);
  const { compare } = new Intl.Collator("en", { sensitivity: "base" });
  let sorted = ""; // the key of a column, after a minus if descending
  let ordered = ""; // the order of the rows now

  const holds = (group, name, value) => !value || group.has[name].includes(value);
  const match = (group, but) => fields.every(({ name, value }) => name === but || holds(group, name, value));

  /** Sort the rows of each group by the text or number of a cell; rows without one come last. */
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
    for (const { body, rows } of groups) {
      const values = new Map(rows.map(row => [row, value(row)]));
      body.append(...[...rows].sort((a, b) => {
        const [x, y] = [values.get(a), values.get(b)];
        if (x === "" || y === "") return Number(x === "") - Number(y === "");
        return sign * (typeof x === "string" ? compare(x, y) : x - y || 0);
      }));
    }
  }

  function show() {
    order();
    const found = groups.filter(group => match(group));
    for (const { body } of groups) body.hidden = true;
    for (const { body } of found) body.hidden = false;
    const method = form.elements.method.value;
    for (const row of table.querySelectorAll("[data-method]")) {
      row.classList.toggle("atlas-claim--chosen", row.dataset.method === method);
    }
    // Disable choices that would leave no rows.
    for (const { name, options, value } of fields) {
      const left = groups.filter(group => match(group, name));
      for (const option of options) {
        option.disabled = option.value !== value && !left.some(group => holds(group, name, option.value));
      }
    }
    count.textContent = found.length;
    table.hidden = !found.length;
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
  skipTo(() => table.querySelector("tbody:not([hidden]) [data-method] th a") ?? fields[0]);
  form.hidden = false;
  restore();
  // Hiding rows above the target has moved it.
  if (location.hash && location.search) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

if (form) filter();
else shown();
