// What is shown, as a file for the reader.

import { make } from "./state.js";

/** One cell of a CSV file; a sheet must not take text for a formula. */
function cell(value) {
  const text = Array.isArray(value) ? value.join(" ") : String(value ?? "");
  const formula = typeof value === "string" && /^[=+\-@\t\r]/.test(text);
  return `"${(formula ? "'" : "") + text.replaceAll('"', '""')}"`;
}

/** A sheet of rows of values, the first of them its head. */
export const csv = rows => "\ufeff" + rows.map(row => row.map(cell).join(",")).join("\r\n") + "\r\n";

/** Give the reader a text as a file. */
export function save(text, name, type) {
  const address = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}
