// Selected rows of the catalog: cite, save and compare them.

import { bibtex, copy, markdown } from "./citing.js";
import { save } from "./files.js";
import { about, known, lines } from "./rows.js";
import { make } from "./state.js";

const bar = document.querySelector(".atlas-picked");
const [count, compare] = ["strong", "a"].map(name => bar.querySelector(name));
const said = document.querySelector("#atlas-said"); // for screen readers
const MOST = 4; // maximum number of methods that the leaderboard compares
const picks = new Set(); // slugs of selected rows
let changed; // called when the selection changes

const ticked = () => [...picks].map(slug => known.get(slug));

/** Show the selection and its actions. */
function show() {
  for (const { tick, slug } of lines) if (tick) tick.checked = picks.has(slug);
  bar.hidden = !picks.size;
  count.textContent = picks.size;
  const methods = ticked().map(about).filter(one => one.method).map(one => one.slug);
  const some = methods.slice(0, MOST);
  compare.hidden = some.length < 2;
  compare.textContent = `Compare ${some.length < methods.length ? "the first " : ""}${some.length}`;
  compare.href = `leaderboard.html?compare=${some.join(",")}`;
}

/** Copy the BibTeX of some rows and confirm it on the button. */
async function cite(button, some) {
  const label = button.dataset.label ??= button.textContent;
  const done = await copy(bibtex(some.map(about))).then(() => "Copied", () => "Not copied");
  button.textContent = done;
  said.textContent = `${done}: BibTeX of ${some.map(({ name }) => name).join(", ")}`;
  setTimeout(() => { button.textContent = label; }, 2000);
}

/** Add a check box and a BibTeX button to a row when it is first drawn. */
export function equip(line) {
  if (line.tick) return;
  line.tick = make("input", { type: "checkbox", "aria-label": `Select ${line.name}` });
  line.tick.checked = picks.has(line.slug);
  line.tick.addEventListener("change", () => {
    picks[line.tick.checked ? "add" : "delete"](line.slug);
    show();
    changed();
  });
  line.link.after(make("label", { class: "atlas-tick" }, line.tick));
  if (!line.row.dataset.key) return;
  const button = make("button", { type: "button", "aria-label": `Copy BibTeX of ${line.name}` }, "BibTeX");
  button.addEventListener("click", () => cite(button, [line]));
  line.row.cells[0].append(button);
}

/** The selection as written in the address. */
export const written = () => [...picks].join(",");

/** Select the papers that an address names. */
export function restore(text) {
  picks.clear();
  for (const slug of text.split(",")) if (known.has(slug)) picks.add(slug);
  show();
}

/** Connect the buttons that save the shown or selected papers; `sheet` writes the CSV, `failed` reports errors. */
export function start({ form, found, sheet, change, failed }) {
  changed = change;
  const kinds = {
    csv: async some => save(sheet(some), "pruning-atlas.csv", "text/csv"),
    bibtex: async some => save(await bibtex(some.map(about)), "pruning-atlas.bib", "text/plain"),
    markdown: async some => save(await markdown(some.map(about)), "pruning-atlas.md", "text/markdown"),
  };
  for (const [place, rows] of [[form, found], [bar, ticked]]) {
    for (const button of place.querySelectorAll("[data-save]")) {
      button.addEventListener("click", () => kinds[button.dataset.save](rows()).catch(failed));
    }
  }
  bar.querySelector("[data-copy]").addEventListener("click", event => cite(event.target, ticked()));
  bar.querySelector("[data-clear]").addEventListener("click", () => {
    restore("");
    changed();
    form.querySelector("input").focus();
  });
}
