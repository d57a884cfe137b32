// The shown rows and columns of a board as a file.

import { number } from "./board-table.js";
import { csv } from "./files.js";

/** The rows as objects: settings, columns with deviations, commands and records. */
export function lines(shown, heads, columns) {
  return shown.map(row => ({
    rank: row.rank || null,
    method: row.method,
    name: row.name,
    removed: row.removed[1],
    achieved: row.removed[0],
    class: row.class,
    note: row.note,
    fidelity: row.fidelity,
    collapsed: row.collapsed,
    ...Object.fromEntries(heads.slice(3, -1).flatMap(({ dataset: { sort } }, place) => {
      if (!columns.has(sort) || sort === "fidelity") return [];
      const [value, , , deviation] = row.cells[place];
      return [[sort, value ?? null], ...(number(deviation) === undefined ? [] : [[`${sort} deviation`, deviation]])];
    })),
    seeds: row.records.map(([seed]) => seed),
    command: row.command,
    records: row.records.map(([, address]) => address),
  }));
}

/** Write objects as CSV with all their names. */
export function sheet(objects) {
  const names = [...new Set(objects.flatMap(Object.keys))];
  return csv([names, ...objects.map(one => names.map(name => one[name]))]);
}
