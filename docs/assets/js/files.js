// Downloads of the shown rows.

import { make } from "./state.js";

/** One cell of a CSV file, escaped so that spreadsheets do not evaluate it as a formula. */
function cell(value) {
  const text = Array.isArray(value) ? value.join(" ") : String(value ?? "");
  const formula = typeof value === "string" && /^[=+\-@\t\r]/.test(text);
  return `"${(formula ? "'" : "") + text.replaceAll('"', '""')}"`;
}

/** CSV from rows of values; the first row is the header. */
export const csv = rows => "\ufeff" + rows.map(row => row.map(cell).join(",")).join("\r\n") + "\r\n";

/** Download a text as a file. */
export function save(text, name, type) {
  const address = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}
