// Search, facets, sorting and groups of the catalog; all data is in the rows. Without
// JavaScript the page is a plain table.

import { csv } from "./files.js";
import { menus } from "./menus.js";
import * as picks from "./picks.js";
import { about, boxes, documents, heads, lines, losses, orders, table } from "./rows.js";
import { make, onReturn, once, read, shown, skipTo, working, write } from "./state.js";

const LIMIT = 50; // rows drawn at first: drawing a thousand takes longer than searching them

const form = document.querySelector(".atlas-filter");
const query = form.querySelector("#atlas-query");
const sort = form.querySelector("#atlas-sort");
const group = form.querySelector("#atlas-group");
const turn = form.querySelector("#atlas-turn");
const more = form.querySelector("#atlas-more");
const chosen = form.querySelector("#atlas-chosen");
const shownCount = form.querySelector("#atlas-shown");
const rest = document.querySelector(".atlas-catalog__rest");
const note = form.querySelector("#atlas-note");
const loosen = document.querySelector(".atlas-loosen");

const placesIn = element => [...boxes.keys()].filter(place => element.contains(boxes[place]));
const menuOf = element => ({
  element,
  name: element.dataset.facet,
  summary: element.querySelector("summary"),
  label: element.querySelector("summary").textContent,
  places: placesIn(element),
});
const facetMenus = [...form.querySelectorAll(".atlas-facet")].map(menuOf);
/** A paper must match one choice of each facet; every group of a menu is a facet of its own. */
const facets = facetMenus.flatMap(menu => {
  const parts = [...menu.element.querySelectorAll("[role=group]")];
  return parts.length ? parts.map(part => ({ ...menu, places: placesIn(part) })) : [menu];
});
const common = [...form.querySelectorAll("[data-box]")].map(button => [button, boxes[button.dataset.box]]);
const modelSearch = form.querySelector(".atlas-facet__find");
const counts = boxes.map(box => box.closest("label").querySelector(".atlas-count"));
const labels = boxes.map(box => box.nextElementSibling.textContent);

let found = lines; // in the order of the page
let all = false;
let chosenKey = null; // the sort key chosen by the reader; by default the best match or the newest is first
let ordered; // the current order of the rows
let finder = null; // the search engine, once it is loaded
let scores = null; // search scores by slug; null without a query

const keys = { ...orders, match: ({ slug }) => -(scores?.get(slug) ?? NaN) };
const collator = new Intl.Collator("en", { sensitivity: "base" });
const compare = (x, y) => (typeof x === "string" ? collator.compare(x, y) : x - y);

const asked = () => query.value.trim();
const usual = () => (asked() ? "match" : "year");
const key = () => chosenKey ?? usual();
const offline = what => { note.textContent = `. ${what} could not be loaded; check your connection`; };

/** Load the search engine. */
const load = once(async () => {
  const { Finder } = await import("./finding.js");
  finder = await new Finder().learn(documents());
});

const backwards = () => turn.getAttribute("aria-pressed") === "true";
const reverse = back => turn.setAttribute("aria-pressed", String(back));
const ticked = facet => facet.places.filter(place => boxes[place].checked);

/**
 * Find the matching lines. Count how many each choice would leave, and how many lines each facet or
 * the query excludes on its own.
 */
function find() {
  const { hits = null, near = false } = asked() ? finder.search(asked()) : {};
  scores = hits;
  note.textContent = near ? ", with similar spelling" : "";
  const wanted = facets.map(ticked);
  const open = facets.map((_, place) => place).filter(place => wanted[place].length);
  const left = new Uint32Array(boxes.length);
  const alone = new Map();
  found = [];
  for (const line of lines) {
    const failed = open.filter(facet => !wanted[facet].some(place => line.has[place]));
    const unsaid = scores !== null && !scores.has(line.slug);
    if (failed.length + unsaid === 0) found.push(line);
    if (failed.length + unsaid === 1) {
      const why = unsaid ? "words" : failed[0];
      alone.set(why, (alone.get(why) ?? 0) + 1);
    }
    // Count a line for a choice if no other facet excludes the line.
    if (unsaid || failed.length > 1) continue;
    facets.forEach((facet, place) => {
      if (failed.length && failed[0] !== place) return;
      for (const choice of facet.places) left[choice] += line.has[choice];
    });
  }
  return { left, alone };
}

/** Sort all lines; those without a value come last in both directions. */
function order() {
  const back = backwards();
  const now = [key(), back, key() === "match" ? asked() : ""].join(" ");
  if (ordered === now) return;
  ordered = now;
  const values = new Map(lines.map(line => [line, keys[key()](line)]));
  const by = (a, b) => {
    const [x, y] = [values.get(a), values.get(b)];
    const missing = Number(x !== x) - Number(y !== y);
    const turned = back && x === x ? -1 : 1;
    return missing || (x === x && compare(x, y) * turned) || (a.place - b.place) * turned;
  };
  lines.sort(by);
  found.sort(by);
}

/** Draw the matching rows, counts, active filters and sort direction. */
function draw({ left, alone }) {
  const drawn = new Set(all || group.value ? found : found.slice(0, LIMIT));
  for (const line of lines) line.row.hidden = !drawn.has(line);
  drawn.forEach(picks.equip);
  place([...drawn]);
  advise(alone);
  shownCount.textContent = found.length;
  rest.hidden = found.length === drawn.size;
  rest.firstElementChild.textContent = `Show all ${found.length}`;
  boxes.forEach((box, place) => {
    counts[place].textContent = left[place];
    box.closest("label").classList.toggle("atlas-none", !left[place] && !box.checked);
  });
  for (const menu of facetMenus) {
    const { length } = ticked(menu);
    menu.element.classList.toggle("atlas-facet--chosen", length > 0);
    menu.summary.textContent = menu.label + (length ? ` ${length}` : "");
  }
  for (const [button, box] of common) button.ariaPressed = String(box.checked);
  findModels();
  sort.options[0].disabled = !asked();
  sort.value = table.dataset.sorted = key();
  const filters = facets.flatMap(facet =>
    ticked(facet).map(place => make("li", {}, chip(facet, place))));
  chosen.replaceChildren(...filters);
  more.textContent = filters.length ? `Filters ${filters.length}` : "Filters";
  for (const head of heads) {
    const here = head.dataset.sort === key();
    const down = backwards() !== (key() === "year");
    if (here) head.setAttribute("aria-sort", down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
}

/** Show one choice per family of models, and the other models that are chosen or searched for. */
function findModels() {
  if (!modelSearch) return;
  const compact = text => text.toLowerCase().replace(/[^a-z0-9]/g, "");
  const wanted = compact(modelSearch.value);
  for (const part of modelSearch.parentElement.querySelectorAll("[role=group]")) {
    const [first, ...models] = part.children;
    const says = label => {
      const { dataset, nextElementSibling: name } = label.firstElementChild;
      return compact(`${name.textContent} ${dataset.synonyms ?? ""}`).includes(wanted);
    };
    for (const label of models) {
      label.hidden = !label.firstElementChild.checked && !(wanted && says(label));
    }
    first.hidden = !says(first) && models.every(label => label.hidden) && !first.firstElementChild.checked;
    part.hidden = first.hidden;
  }
}

/** Move the drawn rows to the top, in order and below the headings of their groups. */
function place(drawn) {
  for (const row of table.querySelectorAll(".atlas-extra")) row.remove();
  const [body] = table.tBodies;
  let next = body.firstElementChild;
  const put = row => {
    if (row === next) next = next.nextElementSibling;
    else body.insertBefore(row, next);
  };
  const placed = new Set();
  for (const [name, members] of groups(drawn)) {
    if (name) put(heading(name, members.length));
    for (const line of members) put(placed.has(line) ? again(line) : line.row);
    members.forEach(line => placed.add(line));
  }
}

/** Divide lines by the values of the facet to group by; a line with two values is in two groups. */
function groups(some) {
  if (!group.value) return [["", some]];
  const facet = facetMenus.find(({ name }) => name === group.value);
  const places = facet?.places ?? []; // a facet with one value is left out
  const made = places.map(place => [labels[place], some.filter(line => line.has[place])]);
  if (key() === group.value && backwards()) made.reverse();
  const others = some.filter(line => !places.some(place => line.has[place]));
  return [...made, [`No ${group.value}`, others]].filter(([, members]) => members.length);
}

function heading(name, count) {
  const papers = make("span", {}, `${count} ${count === 1 ? "entry" : "entries"}`);
  const cell = make("th", { scope: "colgroup", colspan: heads.length }, name.replaceAll("-", " "), papers);
  return make("tr", { class: "atlas-extra atlas-group" }, cell);
}

/** A copy of a row for its second group, without check box and button. */
function again({ row }) {
  const copy = row.cloneNode(true);
  copy.classList.add("atlas-extra");
  for (const control of copy.querySelectorAll("label, button")) control.remove();
  return copy;
}

function chip(facet, place) {
  const label = `${facet.label}: ${labels[place]}`;
  const button = make("button", { type: "button", "aria-label": `Remove ${label}` }, `${label} ×`);
  button.addEventListener("click", () => {
    boxes[place].checked = false;
    change();
    (chosen.querySelector("button") ?? query).focus();
  });
  return button;
}

/** Clear the query or all choices of a facet. */
function leave(why) {
  if (why === "words") query.value = "";
  else for (const place of ticked(facets[why])) boxes[place].checked = false;
}

/** For an empty result, offer to remove one filter and show how many entries would match. */
function advise(alone) {
  loosen.hidden = found.length > 0;
  const [text, list] = loosen.children;
  const named = why => why === "words" ? `“${asked()}”`
    : `${facets[why].label}: ${ticked(facets[why]).map(place => labels[place]).join(" or ")}`;
  const ways = [...alone].sort((a, b) => b[1] - a[1]).map(([why, count]) =>
    [`Without ${named(why)}: ${count} ${count === 1 ? "entry" : "entries"}`, () => leave(why)]);
  const words = !facets.some(facet => ticked(facet).length);
  text.textContent = words ? "No paper matches these words, not even with similar spelling."
    : `No paper matches all of these filters${ways.length ? "." : ", even without one of them."}`;
  list.replaceChildren(...[...ways, [`All ${lines.length} entries`, clear]].map(([label, act]) => {
    const button = make("button", { type: "button" }, label);
    button.addEventListener("click", () => {
      act();
      change();
      query.focus();
    });
    return make("li", {}, button);
  }));
}

function show() {
  if (asked() && !finder) {
    working();
    table.setAttribute("aria-busy", "true");
    load().then(show, () => {
      offline("The search");
      table.removeAttribute("aria-busy");
      shown();
    });
    return;
  }
  table.removeAttribute("aria-busy");
  const counted = find();
  order();
  draw(counted);
  shown();
}

/** Read the state of the page from the address; `q` belongs to the search in the header. */
function restore() {
  all = false;
  const state = read();
  query.value = state.get("find") ?? "";
  for (const box of boxes) box.checked = state.getAll(box.name).includes(box.value);
  const [, back, key] = (state.get("sort") ?? "").match(/^(-?)(.*)$/);
  chosenKey = Object.hasOwn(keys, key) && key !== "match" ? key : null;
  reverse(back === "-");
  group.value = state.get("group") ?? "";
  if (group.selectedIndex < 0) group.value = "";
  picks.restore(state.get("pick") ?? "");
  show();
}

/** Write the state of the page to the address. */
function store(how) {
  const state = new URLSearchParams();
  if (asked()) state.set("find", asked());
  for (const box of boxes) if (box.checked) state.append(box.name, box.value);
  if (backwards() || key() !== usual()) state.set("sort", (backwards() ? "-" : "") + key());
  if (group.value) state.set("group", group.value);
  if (picks.written()) state.set("pick", picks.written());
  write(state, how);
  shown();
}

/** Update the page after a change of the form. */
function change(how) {
  all = false;
  store(how);
  show();
}

/** Write lines as CSV. */
function sheet(some) {
  // Skip facets that have their own column.
  const others = facetMenus.filter(({ name }) =>
    !Object.hasOwn(keys, name) && !name.startsWith("loss") && name !== "licence");
  const columns = ["slug", "name", "title", "authors", "venue", "year", "code_license"];
  const header = [...columns, ...others.map(facet => facet.name), ...losses.map(([name]) => name)];
  return csv([header, ...some.map(line => {
    const said = about(line);
    const values = ({ name, places }) =>
      places.filter(place => line.has[place] && boxes[place].name === name).map(place => boxes[place].value);
    return [...columns.map(name => said[name]), ...others.map(facet => values(facet).join("; ")), ...said.losses];
  })]);
}

function by(one) {
  reverse(key() === one && !backwards());
  chosenKey = one === "match" ? null : one;
  change();
}

function clear() {
  query.value = "";
  for (const box of boxes) box.checked = false;
  chosenKey = null;
  group.value = "";
  reverse(false);
}

for (const head of heads.filter(head => head.dataset.sort)) {
  const button = make("button", { type: "button" }, head.textContent);
  button.addEventListener("click", () => by(head.dataset.sort));
  head.replaceChildren(button);
}
form.addEventListener("submit", event => event.preventDefault());
query.addEventListener("focus", () => load().catch(() => offline("The search")));
query.addEventListener("input", () => change({ typed: true }));
form.addEventListener("change", event => {
  if (event.target.type === "search") return;
  if (event.target === sort) chosenKey = sort.value === "match" ? null : sort.value;
  change();
});
for (const [button, box] of common) {
  button.addEventListener("click", () => {
    box.checked = !box.checked;
    change();
  });
}
modelSearch?.addEventListener("input", findModels);
turn.addEventListener("click", () => {
  reverse(!backwards());
  change();
});
more.addEventListener("click", () => {
  const open = form.classList.toggle("atlas-filter--open");
  more.setAttribute("aria-expanded", String(open));
});
form.addEventListener("reset", event => {
  event.preventDefault();
  clear();
  change();
});
picks.start({ form, found: () => found, sheet, change: store, failed: () => offline("That") });
skipTo(() => found[0]?.link ?? loosen.querySelector("button"));
// Print all matching rows.
addEventListener("beforeprint", () => {
  place(found);
  for (const line of found) line.row.hidden = false;
});
addEventListener("afterprint", show);
rest.firstElementChild.addEventListener("click", () => {
  all = true;
  show();
});
menus(facetMenus.map(menu => menu.element));
onReturn(restore);

form.hidden = false;
restore();
