// Papers as BibTeX or as a Markdown list.

import { once } from "./state.js";

/** The BibTeX entries of all papers, by key. */
const entries = once(async () => {
  const response = await fetch("papers.bib");
  if (!response.ok) throw new Error(`${response.url}: ${response.status}`);
  const parts = (await response.text()).split(/\n(?=@)/);
  return new Map(parts.map(entry => [entry.match(/^@\w+\{([^,]+),/)?.[1], `${entry.trim()}\n`]));
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

/**
 * Copy a promised text to the clipboard; browsers allow this only in response to a click. Rejects
 * on pages without HTTPS, which have no clipboard.
 */
export const copy = async text => navigator.clipboard.write([new ClipboardItem({
  "text/plain": text.then(found => new Blob([found], { type: "text/plain" })),
})]);
