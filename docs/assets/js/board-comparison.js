// Methods side by side: facts from the catalog, then the rows of this board at the same settings.

import { noted, number } from "./board-table.js";
import { make } from "./state.js";

export const MOST = 4; // maximum number of methods
const TIE = 0.05; // relative difference up to which values count as equal, as in "How we measure"

const line = (label, cells) => make("tr", {}, make("th", { scope: "row" }, label), ...cells);

function fact(value = "") {
  if (typeof value === "string") return make("td", {}, value);
  const [text, href] = value;
  return make("td", {}, make("a", { href }, text));
}

/** The numbers of one column; the best and those that tie with it are marked unless all tie. */
function measured({ textContent, dataset }, place, rows) {
  const values = rows.map(row => (row && !row.collapsed ? number(row.cells[place]?.[0]) : undefined));
  const known = values.filter(value => value !== undefined);
  const best = "down" in dataset ? Math.max(...known) : Math.min(...known);
  const ties = value => value === best || Math.abs(value / best - 1) <= TIE;
  const differ = known.some(value => !ties(value));
  const cells = rows.map((row, one) => {
    const collapsed = row?.collapsed && dataset.sort === "ratio" ? [" ", "collapsed"] : [];
    const cell = make("td", {}, ...(row ? noted(row.cells[place]) : []), ...collapsed);
    if (differ && values[one] !== undefined && ties(values[one])) {
      cell.className = "atlas-best";
      cell.append(make("span", { class: "atlas-hidden" }, " (best)"));
    }
    return cell;
  });
  return line(textContent, cells);
}

function records(rows, up) {
  return line("Records", rows.map(row => make("td", {}, ...(row?.records ?? []).flatMap(([seed, address], place) =>
    [place ? ", " : "", make("a", { href: up + address }, `seed ${seed}`)]))));
}

/** A table with one column per slug; `columns` are the keys of the visible number columns. */
export function comparison(slugs, { labels, methods }, rows, heads, columns, up) {
  const own = slugs.map(slug => rows.filter(row => row.method === slug));
  const group = (label, lines) => make("tbody", {}, make("tr", { class: "atlas-comparison__group" },
    make("th", { scope: "rowgroup", colspan: slugs.length + 1 }, label)), ...lines);
  const table = make("table", { class: "atlas-comparison__table" });
  table.style.setProperty("--methods", slugs.length);
  table.append(make("thead", {}, make("tr", {}, make("td"), ...slugs.map((slug, place) =>
    make("th", { scope: "col" }, make("a", { href: `${up}papers/${slug}.html` }, methods[slug].name),
      ...(own[place].length ? [] : [make("span", {}, "not on this board")]))))));
  table.append(group("Method", labels.flatMap((label, place) => {
    const values = slugs.map(slug => methods[slug].facts[place]);
    return values.some(Boolean) ? [line(label, values.map(fact))] : [];
  })));
  // Compare numbers only at the same setting.
  const enough = Math.min(2, own.filter(those => those.length).length);
  const settings = [...new Set(own.flat().sort((a, b) => rows.indexOf(a) - rows.indexOf(b)).map(row => row.removed[1]))];
  const common = settings.map(setting => own.map(those => those.find(row => row.removed[1] === setting)))
    .filter(those => enough && those.filter(Boolean).length >= enough);
  for (const those of common) {
    const lines = heads.slice(3, -1).flatMap((head, place) =>
      (columns.has(head.dataset.sort) ? [measured(head, place, those)] : []));
    table.append(group(`Measured at ${those.find(Boolean).removed[1]}`, [...lines, records(those, up)]));
  }
  if (enough && !common.length) table.append(group("No two of these methods were measured at the same setting.", []));
  return table;
}
