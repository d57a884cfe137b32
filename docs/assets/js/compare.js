// Two to four methods side by side. Everything stands ready in the page's data; this chooses the
// methods, leaves out what none of them has, and marks the least of the losses.

import { drive, make, read, shown, write } from "./state.js";

const { groups, methods, pieces } = JSON.parse(document.querySelector("#atlas-compare-data").textContent);
const form = document.querySelector(".atlas-pickers");
const pickers = [...form.querySelectorAll("select")];
const differ = form.querySelector("#atlas-differ");
const hint = document.querySelector(".atlas-pickers__hint");
const region = document.querySelector(".atlas-compared");
const whole = region.firstElementChild; // every implemented method, for when none is chosen
const known = new Map(methods.map(method => [method.slug, method]));

for (const picker of pickers) {
  for (const [label, here] of [["Implemented here", true], ["In the catalog", false]]) {
    const options = methods.filter(method => method.here === here)
      .map(method => make("option", { value: method.slug }, method.name));
    if (options.length) picker.append(make("optgroup", { label }, ...options));
  }
}

function link([text, href, definition]) {
  if (!href) return text;
  const more = definition ? { class: "atlas-word", "data-definition": definition } : {};
  return make("a", { href, ...more }, text);
}

function cell(method, row, best) {
  const parts = (method.cells[row] ?? []).flatMap((piece, place) =>
    place ? [", ", link(pieces[piece])] : [link(pieces[piece])]);
  if (!best) return make("td", {}, ...parts);
  const mark = make("span", { class: "atlas-hidden" }, " (least)");
  return make("td", { class: "atlas-best" }, ...parts, mark);
}

/** The methods whose number is the least of a row, where there are several numbers. */
function winners(chosen, row) {
  const values = chosen.map(method => method.values[row]).filter(value => value !== undefined);
  const best = values.length > 1 ? Math.min(...values) : NaN;
  return new Set(chosen.filter(method => method.values[row] === best));
}

/** The rows of one group that say something of the methods chosen; `first` is the first's number. */
function lines(chosen, names, first) {
  return names.flatMap((name, place) => {
    const row = first + place;
    const texts = chosen.map(method => String(method.cells[row] ?? ""));
    if (!texts.some(Boolean) || (differ.checked && texts.every(text => text === texts[0]))) return [];
    const best = winners(chosen, row);
    const cells = chosen.map(method => cell(method, row, best.has(method)));
    return [make("tr", {}, make("th", { scope: "row" }, name), ...cells)];
  });
}

function table(chosen) {
  const made = make("table", { class: `atlas-compare atlas-compare--${chosen.length}` });
  const heads = chosen.map(method => make("th", { scope: "col" },
    make("a", { href: `papers/${method.slug}.html` }, method.name),
    make("span", {}, method.here ? "implemented here" : "not implemented here yet")));
  made.append(make("thead", {}, make("tr", {}, make("td"), ...heads)));
  const enough = Math.min(2, chosen.filter(method => method.here).length);
  let first = 0;
  for (const [label, note, measured, names, claims] of groups) {
    const found = chosen.filter(method => names.some((_, place) => method.cells[first + place]));
    const least = claims ? 2 : measured ? enough : 0;
    const rows = found.length < least ? [] : lines(chosen, names, first);
    first += names.length;
    if (!rows.length) continue;
    const head = make("th", { scope: "rowgroup", colspan: chosen.length + 1 }, link([label, claims]));
    if (note) head.append(" ", make("span", {}, note));
    made.append(make("tbody", {}, make("tr", { class: "atlas-compare__group" }, head), ...rows));
  }
  return made;
}

const chosen = () => [...new Set(pickers.map(picker => picker.value).filter(Boolean))];

function show() {
  const slugs = chosen();
  for (const picker of pickers) {
    for (const option of picker.querySelectorAll("option[value]:not([value=''])")) {
      option.disabled = option.value !== picker.value && slugs.includes(option.value);
    }
  }
  hint.textContent = ["Without a choice, every method that is implemented here.",
    "Choose a second method to compare it with."][slugs.length] ?? "";
  region.classList.toggle("atlas-compared--few", slugs.length > 0);
  region.replaceChildren(slugs.length ? table(slugs.map(slug => known.get(slug))) : whole);
}

/** Take the choice from the address; what it names that is not here is left out. */
function restore() {
  const state = read();
  const slugs = [...new Set((state.get("m") ?? "").split(","))].filter(slug => known.has(slug));
  pickers.forEach((picker, place) => { picker.value = slugs[place] ?? ""; });
  differ.checked = state.has("differ");
  show();
  shown();
}

function change() {
  const state = new URLSearchParams();
  if (chosen().length) state.set("m", chosen().join(","));
  if (differ.checked) state.set("differ", "1");
  show();
  write(state);
  shown();
}

drive(form, {
  change,
  empty() {
    for (const picker of pickers) picker.value = "";
    differ.checked = false;
  },
  restore,
});

form.hidden = false;
restore();
