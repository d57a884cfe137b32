// Methods side by side: facts from the catalog, then the rows of this board at the same sparsity.

import { noted, number } from "./board-table.js";
import { make } from "./state.js";

export const MOST = 4; // maximum number of methods

const line = (label, cells) => make("tr", {}, make("th", { scope: "row" }, label), ...cells);

function fact(value = "") {
  if (typeof value === "string") return make("td", {}, value);
  const [text, href] = value;
  return make("td", {}, make("a", { href }, text));
}

/** Whether one row is better by more than the noise: the rule of `Loss.clearly_below`. */
function clearlyBetter(one, other, place, { down, sort }, { tie, seeds }) {
  const rows = down === undefined ? [one, other] : [other, one];
  const [[low, lowNoise], [high, highNoise]] = rows.map(row =>
    [number(row.cells[place]?.[0]), row.records.length >= seeds ? number(row.cells[place]?.[3]) : undefined]);
  if (lowNoise !== undefined && highNoise !== undefined) return high - low > lowNoise + highNoise;
  return low < high * (1 - (/^(ratio|ppl)/.test(sort) ? rows[1].tie : tie));
}

/** The numbers of one column. The best rows are marked among those that are ranked together. */
function measured({ textContent, dataset }, place, rows, equal) {
  const better = (one, other) => one.group === other.group
    && clearlyBetter(one, other, place, dataset, equal);
  const ranked = rows.filter(row => row?.rank && number(row.cells[place]?.[0]) !== undefined);
  const best = ranked.filter(row => !ranked.some(other => better(other, row))
    // If all rows are equal, none is marked.
    && ranked.some(one => one.group === row.group && ranked.some(other => better(one, other))));
  const cells = rows.map(row => {
    const collapsed = row?.collapsed && dataset.sort === "ratio" ? [" ", "collapsed"] : [];
    const cell = make("td", {}, ...(row ? noted(row.cells[place]) : []), ...collapsed);
    if (best.includes(row)) {
      cell.className = "atlas-best";
      cell.append(make("span", { class: "atlas-hidden" }, " (best)"));
    }
    return cell;
  });
  return line(textContent, cells);
}

/** The settings of each row, with its note. */
function settings(rows) {
  return line("Settings", rows.map(row => make("td", {}, ...(row ? noted(row.removed) : []),
    ...(row?.note ? [" ", make("span", { class: "spread" }, row.note)] : []))));
}

function records(rows, up) {
  return line("Records", rows.map(row => make("td", {}, ...(row?.records ?? []).flatMap(([seed, address], place) =>
    [place ? ", " : "", make("a", { href: up + address }, `seed ${seed}`)]))));
}

/** A table with one column per slug; `columns` are the keys of the visible number columns. */
export function comparison(slugs, { labels, methods }, { rows, equal }, heads, columns, up) {
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
  // Compare numbers only at the same share, each method by the row that represents it.
  const enough = Math.min(2, own.filter(those => those.length).length);
  const shares = new Set(rows.filter(row => slugs.includes(row.method)).map(row => row.share));
  const common = [...shares]
    .map(share => [share, own.map(those => those.find(row => row.represents && row.share === share))])
    .filter(([, those]) => enough && those.filter(Boolean).length >= enough);
  for (const [share, those] of common) {
    const lines = heads.slice(3, -1).flatMap((head, place) =>
      (columns.has(head.dataset.sort) ? [measured(head, place, those, equal)] : []));
    const label = share.includes(":") ? share : `${share} %`;
    table.append(group(`Measured at ${label}`, [settings(those), ...lines, records(those, up)]));
  }
  if (enough && !common.length) table.append(group("No two of these methods were measured at the same sparsity.", []));
  return table;
}
