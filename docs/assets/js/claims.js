// The filters of the claims, on the page that lists all tables and on those of a model. Pages are
// complete without them: each table, or its row in the list, says which share and metric it is
// about, of which model, and which methods it has.

import { drive, read, shown, write } from "./state.js";

const form = document.querySelector(".atlas-claimed-filter");

function filter() {
  const fields = [...form.querySelectorAll("select")];
  const count = form.querySelector("strong");
  const none = document.querySelector(".atlas-claimed-none");
  const tables = [...document.querySelectorAll(".atlas-claimed")].map(element => {
    const { model, share, metric, methods } = element.dataset;
    const bodies = [...element.querySelectorAll("tbody")];
    const method = methods?.split(" ") ?? bodies.map(body => body.dataset.method);
    const link = element.querySelector(".atlas-claimed__to");
    return { element, bodies, link, has: { model: [model], share: [share], metric: [metric], method } };
  });

  const holds = (table, name, value) => !value || table.has[name].includes(value);
  const match = (table, but) =>
    fields.every(({ name, value }) => name === but || holds(table, name, value));
  const state = () => new URLSearchParams(
    fields.filter(field => field.value).map(({ name, value }) => [name, value]));

  function show() {
    const found = tables.filter(table => match(table));
    const method = form.elements.method.value;
    const kept = state(); // on the page of a model, which is no choice there
    kept.delete("model");
    for (const { element, bodies, link } of tables) {
      element.hidden = true;
      for (const body of bodies) {
        body.classList.toggle("atlas-claimed__chosen", body.dataset.method === method);
      }
      if (link) link.search = kept;
    }
    for (const { element } of found) element.hidden = false;
    // What would leave no table cannot be chosen.
    for (const { name, options, value } of fields) {
      const left = tables.filter(table => match(table, name));
      for (const option of options) {
        option.disabled = option.value !== value && !left.some(table => holds(table, name, option.value));
      }
    }
    count.textContent = found.length;
    none.hidden = found.length > 0;
    shown();
  }

  /** Take the choices from the address; what the page does not know counts as no choice. */
  function restore() {
    const asked = read();
    for (const field of fields) {
      field.value = asked.get(field.name) ?? "";
      if (field.selectedIndex < 0) field.value = "";
    }
    show();
  }

  drive(form, {
    change() {
      write(state());
      show();
    },
    empty() { for (const field of fields) field.value = ""; },
    restore,
  });
  form.hidden = false;
  restore();
  // What was hidden above it has moved it.
  if (location.hash && state().size) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

if (form) filter();
else shown();
