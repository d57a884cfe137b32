// The catalog's search, facets, order and CSV. The page is complete without it: every row is in
// the table, and each row lists by number which of the page's check boxes hold for it.

import { make, onReturn, read, shown, write } from "./state.js";

const LIMIT = 50; // rows drawn at first: drawing a thousand takes longer than finding them

const form = document.querySelector(".atlas-filter");
const query = form.querySelector("#atlas-query");
const sort = form.querySelector("#atlas-sort");
const turn = form.querySelector("#atlas-turn");
const more = form.querySelector("#atlas-more");
const chosen = form.querySelector("#atlas-chosen");
const count = form.querySelector("#atlas-shown");
const table = document.querySelector("#atlas-catalog");
const rest = document.querySelector(".atlas-catalog__rest");
const heads = [...table.tHead.rows[0].cells];

const boxes = [...form.querySelectorAll("[type=checkbox]")];
const facets = [...form.querySelectorAll(".atlas-facet")].map(element => ({
  element,
  name: element.dataset.facet,
  summary: element.querySelector("summary"),
  label: element.querySelector("summary").textContent,
  places: [...boxes.keys()].filter(place => element.contains(boxes[place])),
}));
const counts = boxes.map(box => box.closest("label").querySelector(".atlas-count"));
const labels = boxes.map(box => box.nextElementSibling.textContent);

const plain = /^[\x20-\x7e]*$/;
const fold = text =>
  (plain.test(text) ? text : text.normalize("NFKD").replace(/\p{M}/gu, "")).toLowerCase();
const number = cell => parseFloat(cell.textContent.replaceAll(",", "").replace("∞", "Infinity"));

const lines = [...table.tBodies[0].rows].map((row, place) => {
  const has = new Uint8Array(boxes.length);
  for (const one of row.dataset.has.split(" ")) if (one) has[parseInt(one, 16)] = 1;
  return { row, place, has, name: row.cells[0].firstElementChild.textContent };
});

// What rows are sorted by; newest first, everything else from its small end.
const keys = {
  year: line => -Number(line.row.cells[2].textContent.match(/\d+$/) ?? NaN),
  name: line => fold(line.name),
  venue: line => fold(line.row.cells[2].textContent),
};
heads.forEach((head, place) => {
  const key = head.dataset.sort;
  if (key?.startsWith("loss")) keys[key] = line => number(line.row.cells[place]);
});

let found = lines; // in the order of the page
let all = false;
let ordered = "yearfalse";

const slug = ({ row }) => row.querySelector("a").pathname.match(/(\w+)\.html$/)[1];
const words = line =>
  line.words ??= fold([line.name, line.row.cells[1].textContent, slug(line)].join(" "));
const backwards = () => turn.getAttribute("aria-pressed") === "true";
const reverse = back => turn.setAttribute("aria-pressed", String(back));
const ticked = facet => facet.places.filter(place => boxes[place].checked);

/** Find the lines that match, and count for each choice how many it would leave. */
function find() {
  const asked = fold(query.value).split(/\s+/).filter(Boolean);
  const wanted = facets.map(ticked);
  const open = facets.map((_, place) => place).filter(place => wanted[place].length);
  const left = new Uint32Array(boxes.length);
  found = [];
  for (const line of lines) {
    if (!asked.every(word => words(line).includes(word))) continue;
    const failed = open.filter(facet => !wanted[facet].some(place => line.has[place]));
    if (!failed.length) found.push(line);
    // A choice counts what it would add: only its own facet may stand against the line.
    if (failed.length > 1) continue;
    facets.forEach((facet, place) => {
      if (failed.length && failed[0] !== place) return;
      for (const choice of facet.places) left[choice] += line.has[choice];
    });
  }
  return left;
}

/** Order all rows by the chosen key; what has no value comes last either way. */
function order() {
  const back = backwards();
  if (ordered === sort.value + back) return;
  ordered = sort.value + back;
  const values = new Map(lines.map(line => [line, keys[sort.value](line)]));
  lines.sort((a, b) => {
    const [x, y] = [values.get(a), values.get(b)];
    const missing = Number(x !== x) - Number(y !== y);
    return missing || (x < y === back ? 1 : -1) * Number(x !== y) || a.place - b.place;
  });
  table.tBodies[0].append(...lines.map(line => line.row));
}

/** Draw what was found: rows, counts, chosen filters, the direction in the heads. */
function draw(left) {
  const drawn = new Set(all ? found : found.slice(0, LIMIT));
  for (const line of lines) line.row.hidden = !drawn.has(line);
  count.textContent = found.length;
  rest.hidden = found.length === drawn.size;
  rest.firstElementChild.textContent = `Show all ${found.length}`;
  boxes.forEach((box, place) => {
    counts[place].textContent = left[place];
    box.closest("label").classList.toggle("atlas-none", !left[place] && !box.checked);
  });
  for (const facet of facets) {
    const { length } = ticked(facet);
    facet.element.classList.toggle("atlas-facet--chosen", length > 0);
    facet.summary.textContent = facet.label + (length ? ` ${length}` : "");
  }
  const filters = facets.flatMap(facet =>
    ticked(facet).map(place => make("li", {}, chip(facet, place))));
  chosen.replaceChildren(...filters);
  more.textContent = filters.length ? `Filters ${filters.length}` : "Filters";
  for (const head of heads) {
    const here = head.dataset.sort === sort.value;
    const down = backwards() !== (sort.value === "year");
    if (here) head.setAttribute("aria-sort", down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
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

function show() {
  order();
  draw(find());
}

/** Take the state of the form from the address; `q` there belongs to the site's own search. */
function restore() {
  const state = read();
  query.value = state.get("find") ?? "";
  for (const box of boxes) box.checked = state.getAll(box.name).includes(box.value);
  const [, back, key] = (state.get("sort") ?? "").match(/^(-?)(.*)$/);
  sort.value = Object.hasOwn(keys, key) ? key : "year";
  reverse(back === "-");
  show();
  shown();
}

/** Show what the form says and put it into the address. */
function change(how) {
  const state = new URLSearchParams();
  if (query.value.trim()) state.set("find", query.value.trim());
  for (const box of boxes) if (box.checked) state.append(box.name, box.value);
  if (backwards() || sort.value !== "year") state.set("sort", (backwards() ? "-" : "") + sort.value);
  all = false;
  show();
  write(state, how);
  shown();
}

/** One cell of a CSV file; a sheet must not take text for a formula. */
function cell(value) {
  const text = String(value);
  return `"${(/^[=+\-@\t\r]/.test(text) ? "'" : "") + text.replaceAll('"', '""')}"`;
}

function csv() {
  const losses = [...heads.keys()].filter(place => heads[place].dataset.sort?.startsWith("loss"));
  // What has a column of its own is not repeated as a facet.
  const others = facets.filter(({ name }) => !Object.hasOwn(keys, name) && !name.startsWith("loss"));
  const header = ["slug", "name", "title", "authors", "venue", "year",
    ...others.map(facet => facet.name), ...losses.map(place => heads[place].dataset.sort)];
  const rows = found.map(line => {
    const about = line.row.cells[1];
    // A baseline without a paper has neither, and no authors.
    const [, venue = "", year = ""] = line.row.cells[2].textContent.match(/^(.*?) ?(\d+)$/s) ?? [];
    return [
      slug(line),
      line.name,
      about.querySelector("cite").textContent,
      year && (about.querySelector("p + p") ?? about.querySelector("summary")).textContent,
      venue,
      year,
      ...others.map(facet => facet.places.filter(place => line.has[place])
        .map(place => boxes[place].value).join("; ")),
      ...losses.map(place => line.row.cells[place].firstChild?.textContent ?? ""),
    ];
  });
  return [header, ...rows].map(row => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

function save() {
  const address = URL.createObjectURL(new Blob(["\ufeff", csv()], { type: "text/csv;charset=utf-8" }));
  make("a", { href: address, download: "pruning-atlas.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

function by(key) {
  reverse(sort.value === key && !backwards());
  sort.value = key;
  change();
}

function close(except) {
  for (const { element } of facets) if (element !== except) element.open = false;
}

for (const head of heads.filter(head => head.dataset.sort)) {
  const button = make("button", { type: "button" }, head.textContent);
  button.addEventListener("click", () => by(head.dataset.sort));
  head.replaceChildren(button);
}
form.addEventListener("submit", event => event.preventDefault());
query.addEventListener("input", () => change({ typed: true }));
form.addEventListener("change", event => event.target !== query && change());
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
  query.value = "";
  for (const box of boxes) box.checked = false;
  sort.value = "year";
  reverse(false);
  change();
});
form.querySelector("#atlas-csv").addEventListener("click", save);
rest.firstElementChild.addEventListener("click", () => {
  all = true;
  show();
});
for (const { element } of facets) {
  element.addEventListener("toggle", () => {
    if (!element.open) return;
    close(element);
    element.classList.remove("atlas-facet--end");
    const { right } = element.querySelector("fieldset").getBoundingClientRect();
    element.classList.toggle("atlas-facet--end", right > document.documentElement.clientWidth);
  });
}
document.addEventListener("click", event => close(event.target.closest?.(".atlas-facet")));
form.addEventListener("keydown", event => {
  const open = event.key === "Escape" && event.target.closest("details[open]");
  if (!open) return;
  open.open = false;
  open.querySelector("summary").focus();
});
onReturn(restore);

form.hidden = false;
restore();
