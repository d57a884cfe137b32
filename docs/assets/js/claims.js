// The filters of the claims. The page is complete without them: every table is there, and says of
// itself which model, share and metric it is about; its bodies say which methods.

import { drive, read, shown, write } from "./state.js";

const form = document.querySelector(".atlas-claimed-filter");

function filter() {
  const fields = [...form.querySelectorAll("select")];
  const count = form.querySelector("strong");
  const none = document.querySelector(".atlas-claimed-none");
  const tables = [...document.querySelectorAll("section.atlas-claimed")].map(element => {
    const { model, share, metric } = element.dataset;
    const bodies = [...element.querySelectorAll("tbody")];
    const method = bodies.map(body => body.dataset.method);
    return { element, bodies, has: { model: [model], share: [share], metric: [metric], method } };
  });

  const holds = (table, name, value) => !value || table.has[name].includes(value);
  const match = (table, but) =>
    fields.every(({ name, value }) => name === but || holds(table, name, value));

  function show() {
    const found = tables.filter(table => match(table));
    const method = form.elements.method.value;
    for (const table of tables) {
      table.element.hidden = !found.includes(table);
      for (const body of table.bodies) {
        body.classList.toggle("atlas-claimed__chosen", body.dataset.method === method);
      }
    }
    // What would leave no table cannot be chosen.
    for (const { name, options, value } of fields) {
      const left = tables.filter(table => match(table, name));
      for (const option of options) {
        option.disabled = option.value !== value && !left.some(table => holds(table, name, option.value));
      }
    }
    count.textContent = found.length;
    none.hidden = found.length > 0;
  }

  /** Take the choices from the address; what the page does not know counts as no choice. */
  function restore() {
    const state = read();
    for (const field of fields) {
      field.value = state.get(field.name) ?? "";
      if (field.selectedIndex < 0) field.value = "";
    }
    show();
    shown();
  }

  function change() {
    const state = new URLSearchParams();
    for (const { name, value } of fields) if (value) state.set(name, value);
    show();
    write(state);
    shown();
  }

  drive(form, {
    change,
    empty() { for (const field of fields) field.value = ""; },
    restore,
  });
  form.hidden = false;
  restore();
}

if (form) filter();
else shown();
