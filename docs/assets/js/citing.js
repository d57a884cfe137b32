// Papers to cite or to use elsewhere: as BibTeX, as a sheet, as a list in Markdown.

import { make } from "./state.js";

let loading; // the entries of all papers, by key

/** The BibTeX entries of all papers, by key. */
const entries = () => loading ??= fetch("papers.bib").then(async response => {
  if (!response.ok) throw new Error(`${response.url}: ${response.status}`);
  const parts = (await response.text()).split(/\n(?=@)/);
  return new Map(parts.map(entry => [entry.match(/^@\w+\{([^,]+),/)?.[1], `${entry.trim()}\n`]));
}).catch(error => {
  loading = undefined; // to be tried again
  throw error;
});

/** The entries of some papers; a baseline without a paper has none. */
export async function bibtex(papers) {
  const all = await entries();
  return papers.filter(({ key }) => key).map(({ key }) => all.get(key)).join("\n");
}

/** A list to paste into a README: names, titles as links, authors, venues. */
export async function markdown(papers) {
  const all = await entries();
  const plain = text => text.replace(/[\\`*_[\]<>]/g, "\\$&");
  return papers.map(({ key, name, title, authors, venue, year, page }) => {
    const [, url = page] = all.get(key)?.match(/^ {2}url = \{(.*)\},$/m) ?? [];
    const about = [authors, `${venue} ${year}`.trim()].filter(Boolean).map(plain);
    return [`- **${plain(name)}**: [${plain(title)}](${url})`, ...about].join(". ");
  }).join("\n") + "\n";
}

/** One cell of a CSV file; a sheet must not take text for a formula. */
function cell(value) {
  const text = String(value);
  return `"${(/^[=+\-@\t\r]/.test(text) ? "'" : "") + text.replaceAll('"', '""')}"`;
}

/** A sheet of rows of values, the first of them its head. */
export const csv = rows => "\ufeff" + rows.map(row => row.map(cell).join(",")).join("\r\n") + "\r\n";

/** Give the reader a text as a file. */
export function save(text, name, type) {
  const address = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

/** Put what is being fetched on the clipboard; a browser allows it only as an answer to a click. */
export const copy = text => navigator.clipboard.write([new ClipboardItem({
  "text/plain": text.then(found => new Blob([found], { type: "text/plain" })),
})]);
