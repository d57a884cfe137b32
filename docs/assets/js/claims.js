// The filters of the claims. The page is complete without them. Each group of rows has its model,
// sparsity, metric and methods as attributes.

import { drive, read, shown, write } from "./state.js";

const form = document.querySelector(".atlas-claim-filter");

function filter() {
  const fields = [...form.querySelectorAll("select")];
  const count = form.querySelector("strong");
  const none = document.querySelector(".atlas-claim-none");
  const table = document.querySelector(".atlas-claim-tables");
  const groups = [...table.tBodies].map(body => {
    const { model, share, metric, methods } = body.dataset;
    return { body, has: { model: [model], share: [share], metric: [metric], method: methods.split(" ") } };
  });

  const holds = (group, name, value) => !value || group.has[name].includes(value);
  const match = (group, but) => fields.every(({ name, value }) => name === but || holds(group, name, value));

  function show() {
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
    show();
  }

  drive(form, {
    change() {
      write(new URLSearchParams(fields.filter(field => field.value).map(({ name, value }) => [name, value])));
      show();
    },
    empty() { for (const field of fields) field.value = ""; },
    restore,
  });
  form.hidden = false;
  restore();
  // Hiding rows above the target has moved it.
  if (location.hash && location.search) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

if (form) filter();
else shown();
