// Two to four methods side by side. What entries say stands ready in the page's data; what was
// measured and claimed is loaded for the methods that are chosen. Rows that none of them has are
// left out, and the least of the losses is marked.

import { drive, make, read, shown, working, write } from "./state.js";

const { groups, methods, pieces } = JSON.parse(document.querySelector("#atlas-compare-data").textContent);
const form = document.querySelector(".atlas-pickers");
const pickers = [...form.querySelectorAll("select")];
const differ = form.querySelector("#atlas-differ");
const hint = document.querySelector(".atlas-pickers__hint");
const region = document.querySelector(".atlas-compared");
const whole = region.firstElementChild; // every implemented method, for when none is chosen
const known = new Map(methods.map(method => [method.slug, method]));

/** What the page says of a method, as groups of rows: [place, label, note, measured, claims, rows]. */
function said({ cells }) {
  let first = 0;
  return groups.map(([label, note, names], place) => {
    const rows = names.flatMap((name, number) => {
      const own = cells[first + number];
      return own?.length ? [[number, name, own.map(piece => pieces[piece]), null]] : [];
    });
    first += names.length;
    return [place - groups.length, label, note, false, "", rows];
  });
}

/** The same with what was measured and claimed, which comes once it is asked for. */
function load(method) {
  method.found ??= (method.results
    ? fetch(`compare/${method.slug}.json`).then(answer => answer.json()) : Promise.resolve([]))
    .then(results => new Map([...said(method), ...results].map(group => [group[0], group])))
    .catch(error => {
      method.found = undefined;
      throw error;
    });
  return method.found;
}

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

function cell(own, best) {
  const parts = (own?.[2] ?? []).flatMap((piece, place) => place ? [", ", link(piece)] : [link(piece)]);
  if (!best) return make("td", {}, ...parts);
  const mark = make("span", { class: "atlas-hidden" }, " (least)");
  return make("td", { class: "atlas-best" }, ...parts, mark);
}

/** The least number of a row, where there are several. */
function least(cells) {
  const values = cells.map(own => own?.[3] ?? null).filter(value => value !== null);
  return values.length > 1 ? Math.min(...values) : NaN;
}

/** The rows of one group, which each method has or not. */
function lines(those) {
  const rows = those.map(group => new Map(group?.[5].map(row => [row[0], row])));
  const places = [...new Set(rows.flatMap(own => [...own.keys()]))].sort((a, b) => a - b);
  return places.flatMap(place => {
    const cells = rows.map(own => own.get(place));
    const texts = cells.map(own => JSON.stringify(own?.[2] ?? ""));
    if (differ.checked && texts.every(text => text === texts[0])) return [];
    const best = least(cells);
    const [, name] = cells.find(Boolean);
    return [make("tr", {}, make("th", { scope: "row" }, name), ...cells.map(own => cell(own, own?.[3] === best)))];
  });
}

function table(chosen, found) {
  const made = make("table", { class: `atlas-compare atlas-compare--${chosen.length}` });
  const heads = chosen.map(method => make("th", { scope: "col" },
    make("a", { href: `papers/${method.slug}.html` }, method.name),
    make("span", {}, method.here ? "implemented here" : "not implemented here yet")));
  made.append(make("thead", {}, make("tr", {}, make("td"), ...heads)));
  const enough = Math.min(2, chosen.filter(method => method.here).length);
  const places = [...new Set(found.flatMap(groups => [...groups.keys()]))].sort((a, b) => a - b);
  for (const place of places) {
    const those = found.map(groups => groups.get(place));
    const having = those.filter(group => group?.[5].length);
    const [, label, note, measured, claims] = those.find(Boolean);
    const few = having.length < (claims ? 2 : measured ? enough : 0);
    const rows = few ? [] : lines(those);
    if (!rows.length) continue;
    const head = make("th", { scope: "rowgroup", colspan: chosen.length + 1 }, link([label, claims]));
    if (note) head.append(" ", make("span", {}, note));
    made.append(make("tbody", {}, make("tr", { class: "atlas-compare__group" }, head), ...rows));
  }
  return made;
}

const chosen = () => [...new Set(pickers.map(picker => picker.value).filter(Boolean))];

let turn = 0;

async function show() {
  working();
  const mine = ++turn;
  const slugs = chosen();
  for (const picker of pickers) {
    for (const option of picker.querySelectorAll("option[value]:not([value=''])")) {
      option.disabled = option.value !== picker.value && slugs.includes(option.value);
    }
  }
  hint.textContent = ["Without a choice, every method that is implemented here.",
    "Choose a second method to compare it with."][slugs.length] ?? "";
  const those = slugs.map(slug => known.get(slug));
  try {
    const found = await Promise.all(those.map(load));
    if (mine !== turn) return; // others were chosen meanwhile
    region.classList.toggle("atlas-compared--few", slugs.length > 0);
    region.replaceChildren(slugs.length ? table(those, found) : whole);
  } catch (error) {
    console.error(error);
    hint.textContent = "What was measured could not be loaded. Choose again.";
  }
  if (mine === turn) shown();
}

/** Take the choice from the address; what it names that is not here is left out. */
function restore() {
  const state = read();
  const slugs = [...new Set((state.get("m") ?? "").split(","))].filter(slug => known.has(slug));
  pickers.forEach((picker, place) => { picker.value = slugs[place] ?? ""; });
  differ.checked = state.has("differ");
  show();
}

function change() {
  const state = new URLSearchParams();
  if (chosen().length) state.set("m", chosen().join(","));
  if (differ.checked) state.set("differ", "1");
  write(state);
  show();
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
