// Filters the table of methods by the answers. The page's data has the rules: each excludes methods,
// with the reason, when every question in it has one of the listed answers.

import { drive, make, read, shown, writeForm } from "./state.js";

const LIMIT = 50; // rows drawn at first

const rules = JSON.parse(document.querySelector("#atlas-rules").textContent);
const form = document.querySelector(".atlas-questions");
const table = document.querySelector("#atlas-decide");
const heads = [...table.tHead.rows[0].cells];
const rows = [...table.tBodies[0].rows];
const fit = document.querySelector("#atlas-fit");
const ruled = document.querySelector(".atlas-ruled");
const rests = [...document.querySelectorAll(".atlas-rest")];
const links = [...document.querySelectorAll(".atlas-common a")];
const side = document.querySelector("#atlas-side");
const radios = [...form.querySelectorAll("[type=radio]")];
const names = [...new Set(radios.map(radio => radio.name))];

let all = false;

const answers = () => Object.fromEntries(names.map(name => [name, form.elements[name].value]));
const holds = (rule, given) =>
  Object.entries(rule.when).every(([name, values]) => values.includes(given[name] ?? ""));

/** The reasons against each row, in the order of the questions. */
function reasons(given) {
  const found = rows.map(() => []);
  for (const rule of rules) {
    if (!holds(rule, given)) continue;
    for (const [reason, places] of Object.entries(rule.out)) {
      for (const place of places) if (!found[place].includes(reason)) found[place].push(reason);
    }
  }
  return found;
}

/** The number of rows that fit some answers. */
function left(given) {
  const out = new Uint8Array(rows.length);
  for (const rule of rules.filter(rule => holds(rule, given))) {
    for (const place of Object.values(rule.out).flat()) out[place] = 1;
  }
  return out.reduce((sum, one) => sum - one, rows.length);
}

/** Sort the rows that fit by their order at the chosen amount, if any; unmeasured ones are last. */
function ordered(places, amount) {
  const column = heads.findIndex(head => head.dataset.amount === amount);
  for (const [place, head] of heads.entries()) {
    if (place === column) head.setAttribute("aria-sort", "ascending");
    else head.removeAttribute("aria-sort");
  }
  if (column < 0) return places;
  const order = place => Number(rows[place].cells[column].dataset.order ?? rows.length);
  return places.sort((a, b) => order(a) - order(b) || a - b);
}

function show() {
  const given = answers();
  const against = reasons(given);
  const places = [...rows.keys()];
  const fitting = ordered(places.filter(place => !against[place].length), given.amount);
  const out = places.filter(place => against[place].length)
    .sort((a, b) => against[a].length - against[b].length || a - b); // fewest reasons first
  draw(fitting, out, against);
  fit.textContent = fitting.length;
  for (const radio of radios) {
    const count = radio.closest("label").querySelector(".atlas-count");
    if (count) count.textContent = left({ ...given, [radio.name]: radio.value });
    const about = radio.closest("fieldset").querySelector("[data-about]");
    if (about && radio.checked) {
      about.textContent = radio.closest("label").title || about.dataset.about;
    }
  }
  beside(fitting.slice(0, 4));
  for (const link of links) {
    if (names.every(name => (new URLSearchParams(link.search).get(name) ?? "") === given[name])) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  shown();
}

/** Offer to compare the first few that fit. */
function beside(places) {
  const slugs = places.map(place => rows[place].querySelector("a").pathname.match(/(\w+)\.html$/)[1]);
  side.href = `leaderboard.html?compare=${slugs.join(",")}`;
  side.textContent = `Compare ${places.length === Number(fit.textContent) ? "these" : "the first four"}`;
  side.hidden = places.length < 2;
}

function draw(fitting, out, against) {
  const limit = all ? Infinity : LIMIT;
  const drawn = fitting.slice(0, limit);
  for (const row of rows) row.hidden = true;
  for (const place of drawn) rows[place].hidden = false;
  table.tBodies[0].append(...drawn.map(place => rows[place]));
  ruled.hidden = !out.length;
  ruled.querySelector("dl").replaceChildren(...out.slice(0, limit).map(place => {
    const link = rows[place].querySelector("a");
    return make("div", {}, make("dt", {}, make("a", { href: link.getAttribute("href") }, link.textContent)),
      make("dd", {}, against[place].join("; ")));
  }));
  [fitting, out].forEach((those, which) => {
    rests[which].hidden = those.length <= limit;
    rests[which].firstElementChild.textContent = `Show all ${those.length}`;
  });
}

/** Read the answers from the address; unknown values are ignored. */
function restore() {
  all = false;
  const state = read();
  for (const name of names) {
    const those = radios.filter(radio => radio.name === name);
    (those.find(radio => radio.value === state.get(name)) ?? those[0]).checked = true;
  }
  show();
}

function change() {
  all = false;
  const given = Object.entries(answers()).filter(([, value]) => value);
  writeForm(form, Object.fromEntries(given));
  show();
}

drive(form, {
  change,
  empty() { for (const radio of radios) radio.checked = !radio.value; },
  restore,
});
for (const link of links) {
  link.addEventListener("click", event => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    writeForm(form, Object.fromEntries(new URLSearchParams(link.search)));
    restore();
    fit.closest("p").scrollIntoView({ block: "start" });
  });
}
for (const rest of rests) {
  rest.firstElementChild.addEventListener("click", () => {
    all = true;
    show();
  });
}

form.hidden = false;
restore();
