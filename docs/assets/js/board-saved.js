// What a board shows, as a file: its rows in their order with the columns in sight, as numbers.

import { make } from "./state.js";
import { number } from "./board-table.js";

/** The rows as objects: what was asked, the columns with their deviations, command and record. */
export function lines(shown, heads, columns) {
  return shown.map(({ row, rank }) => ({
    rank: rank ?? null,
    method: row.method,
    name: row.name,
    removed: row.removed[1],
    achieved: row.removed[0],
    collapsed: row.collapsed,
    ...Object.fromEntries(heads.slice(3, -1).flatMap(({ dataset: { sort } }, place) => {
      if (!columns.has(sort)) return [];
      const [value, , , deviation] = row.cells[place];
      return [[sort, value ?? null], ...(number(deviation) === undefined ? [] : [[`${sort} deviation`, deviation]])];
    })),
    seeds: row.records.map(([seed]) => seed),
    command: row.command,
    records: row.records.map(([, address]) => address),
  }));
}

/** Write objects as CSV, with every name that one of them has. */
export function csv(objects) {
  const names = [...new Set(objects.flatMap(Object.keys))];
  const cell = value => {
    const text = Array.isArray(value) ? value.join(" ") : String(value ?? "");
    // What begins like a formula a spreadsheet would compute.
    const safe = typeof value === "string" && /^[=+\-@\t]/.test(text) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return [names, ...objects.map(one => names.map(name => one[name]))]
    .map(line => line.map(cell).join(",") + "\r\n").join("");
}

/** Give a text to the reader as a file. */
export function save(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}
