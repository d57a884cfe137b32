// The lineage around any paper: its drawing is taken from its own page, so that there is one of it.

import { drive, read, shown, working, write } from "./state.js";

const form = document.querySelector(".atlas-lineage-choice");
const place = document.querySelector(".atlas-lineage-place");

/** Fetch the drawing on a paper's page; its links then lead on from here. */
async function drawing(slug) {
  const address = new URL(`papers/${slug}.html`, location);
  const page = new DOMParser().parseFromString(await (await fetch(address)).text(), "text/html");
  const figure = document.importNode(page.querySelector(".atlas-kin"), true);
  for (const link of figure.querySelectorAll("[href]")) {
    link.setAttribute("href", new URL(link.getAttribute("href"), address).href);
  }
  return figure;
}

function choose() {
  const select = form.querySelector("select");
  const first = select.value;
  const drawn = new Map([[first, place.firstElementChild]]);

  async function show() {
    select.value = read().get("paper") ?? first;
    if (select.selectedIndex < 0) select.value = first; // a paper that is not in the catalog
    const slug = select.value;
    working();
    if (!drawn.has(slug)) drawn.set(slug, await drawing(slug));
    if (slug !== select.value) return; // another one was chosen meanwhile
    place.replaceChildren(drawn.get(slug));
    form.querySelector("[data-page]").setAttribute("href", `papers/${slug}.html`);
    centre();
    shown();
  }

  /** Bring the paper into view where the drawing is wider than the page. */
  function centre() {
    const region = place.querySelector(".atlas-lineage");
    const { left, width } = place.querySelector("[aria-current]").getBoundingClientRect();
    region.scrollLeft += left + width / 2 - region.getBoundingClientRect().left - region.clientWidth / 2;
  }

  function change() {
    const state = read();
    if (select.value === first) state.delete("paper");
    else state.set("paper", select.value);
    write(state);
    show();
  }
  drive(form, { change, empty: () => { select.value = first; }, restore: show });
  form.hidden = false;
  show();
}

if (form) choose();
else shown();
