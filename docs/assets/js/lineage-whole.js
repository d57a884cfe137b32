// The lineage lights up where a paper comes from and what came of it, and follows relations by the
// arrow keys. The drawing and its links are complete without it.

import { shown } from "./state.js";

const region = document.querySelector(".atlas-lineage");
const drawing = region.querySelector("svg");

const link = (map, from, to) => map.set(from, [...(map.get(from) ?? []), to]);

function follow() {
  const nodes = new Map([...drawing.querySelectorAll(".atlas-node")].map(node => [node.dataset.id, node]));
  const order = [...nodes.keys()].filter(id => nodes.get(id).hasAttribute("href"));
  const [earlier, later] = [new Map(), new Map()];
  for (const path of drawing.querySelectorAll(".atlas-edge")) {
    const edge = { path, ...path.dataset };
    link(earlier, edge.later, edge);
    link(later, edge.earlier, edge);
  }
  let among = order; // what the up and down keys go through
  let lit = [];

  /** Everything that can be reached from a paper, going one way in time. */
  function reach(map, start, end) {
    const found = new Set([start]);
    for (const id of found) {
      for (const edge of map.get(id) ?? []) {
        lit.push(edge.path);
        found.add(edge[end]);
      }
    }
    for (const id of found) lit.push(nodes.get(id));
  }

  function trace(id) {
    for (const element of lit) element.classList.remove("is-near");
    lit = [];
    if (id) {
      reach(earlier, id, "earlier");
      reach(later, id, "later");
    }
    for (const element of lit) element.classList.add("is-near");
    drawing.classList.toggle("is-tracing", Boolean(id));
  }

  const at = event => event.target.closest(".atlas-node")?.dataset.id;

  function go(event) {
    const id = at(event);
    if (!id) return;
    const ends = (map, end) => [...new Set((map.get(id) ?? []).map(edge => edge[end]))]
      .filter(other => order.includes(other));
    let next;
    if (event.key === "ArrowRight") next = ends(later, "later");
    else if (event.key === "ArrowLeft") next = ends(earlier, "earlier");
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const place = among.indexOf(id) + (event.key === "ArrowDown" ? 1 : -1);
      const other = among[(place + among.length) % among.length];
      event.preventDefault();
      return nodes.get(other).focus();
    } else return;
    event.preventDefault();
    if (!next.length) return;
    among = next.sort((a, b) => order.indexOf(a) - order.indexOf(b));
    moving = true;
    nodes.get(among[0]).focus();
    moving = false;
  }

  let moving = false;
  // Not on the drawing itself: an SVG that listens for the focus takes it.
  region.addEventListener("keydown", go);
  region.addEventListener("focusin", event => {
    // Whoever comes by Tab or mouse goes through all papers again.
    if (!moving && !among.includes(at(event))) among = order;
    trace(at(event));
  });
  region.addEventListener("focusout", () => trace());
  // A mouse that rests where the page scrolls under it does not put out what has the focus.
  const focused = () => document.activeElement?.dataset?.id;
  region.addEventListener("mouseover", event => trace(at(event) ?? focused()));
  region.addEventListener("mouseleave", () => trace(focused()));
}

/** Begin where most comes from: the oldest papers are few and far apart. */
function begin() {
  const counts = new Map();
  for (const { dataset } of drawing.querySelectorAll(".atlas-edge")) {
    counts.set(dataset.earlier, (counts.get(dataset.earlier) ?? 0) + 1);
  }
  const [most] = [...counts].sort((a, b) => b[1] - a[1])[0];
  const box = drawing.querySelector(`[data-id="${CSS.escape(most)}"]`).getBoundingClientRect();
  const frame = region.getBoundingClientRect();
  region.scrollLeft += box.left - frame.left - frame.width / 4;
  region.scrollTop += box.top - frame.top - frame.height / 2;
}

begin();
follow();
document.querySelector(".atlas-lineage-how").hidden = false;
shown();
