// The search engine of the site, used by the box in the header and by the catalog. The theme's own
// search finds neither misspelt words nor 2:4, and it loads its index on every first visit.

import MiniSearch from "./minisearch.js";

const ROOT = new URL("../../", import.meta.url);
/** The weight of a hit in each field; a document has some of these fields. */
const WORTH = {
  name: 12, slug: 10, ids: 10, title: 4, authors: 5, venue: 4, words: 4, synonyms: 2, summary: 1.5, text: 1,
};

const plain = /^[\x20-\x7e]*$/;
/** Convert a text to lower case without accents. */
export const fold = text =>
  (plain.test(text) ? text : text.normalize("NFKD").replace(/\p{M}/gu, "")).toLowerCase();

// Colons and dots inside a token are kept: 2:4, n:m, 2306.11695.
const tokens = text => fold(text).match(/[\p{L}\p{N}]+(?:[.:][\p{L}\p{N}]+)*/gu) ?? [];

// The other spelling of a word in -ise or -ize.
const respelled = word => word.replace(/i([sz])(?=(?:ation|e|ing)\w?$)/, (_, one) => `i${one === "s" ? "z" : "s"}`);

/** The index terms of a text; SparseGPT and semi-structured count as one word and as two. */
function terms(text) {
  const parts = text.replace(/(\p{Ll})(\p{Lu})|(\p{Lu})(\p{Lu}\p{Ll})/gu, "$1$3 $2$4");
  const joined = text.match(/[\p{L}\p{N}]+(?:-[\p{L}\p{N}]+)+/gu) ?? [];
  const found = [
    ...tokens(text),
    ...(parts === text ? [] : tokens(parts)),
    ...joined.flatMap(word => tokens(word.replaceAll("-", ""))),
  ];
  return [...new Set([...found, ...found.map(respelled)])];
}

/** The words of a query; the address of a paper is reduced to its identifier. */
function asked(text) {
  const arxiv = /arxiv|^\s*\d/i.test(text) && text.match(/\b\d{4}\.\d{4,5}(?=v\d|\b)/);
  if (arxiv) return [arxiv[0]];
  const last = text.match(/^\s*https?:\/\/.*?([^/=]+?)(?:\.html|\.pdf)?\/?\s*$/);
  return tokens(last ? last[1] : text);
}

// Numbers must match exactly (years, identifiers), and short words resemble too many others.
const tolerance = word => /\d/.test(word) || word.length < 4 ? false : word.length < 7 ? 1 : 2;

export class Finder {
  constructor() {
    this.known = new Map();
    this.index = new MiniSearch({ fields: Object.keys(WORTH), tokenize: terms, processTerm: term => term });
  }

  /** Index documents in chunks; each has an `id` and fields named as in `WORTH`. */
  async learn(documents) {
    for (const one of documents) this.known.set(one.id, one);
    await this.index.addAllAsync(documents, { chunkSize: 40 });
    return this;
  }

  /**
   * Find documents that contain all words or words beginning with them: ids with scores, the best
   * first. If there are none, find documents with similar spelling (`near`).
   */
  search(text) {
    const words = asked(text);
    const found = hits => new Map(hits.map(({ id, score }) => [id, score]));
    if (!words.length) return { hits: new Map(), near: false };
    const ask = (fuzzy, queries) => this.index.search({ combineWith: "OR", queries }, {
      boost: WORTH, prefix: word => word.length > 1, fuzzy, weights: { prefix: .5, fuzzy: .3 },
      tokenize: tokens, processTerm: term => term,
    });
    const all = { combineWith: "AND", queries: words };
    const one = words.length > 1 ? [words.join("")] : [];
    const exact = ask(false, [all]);
    if (exact.length) return { hits: found(exact), near: false };
    const hits = found(ask(tolerance, [all, ...one]));
    return { hits, near: hits.size > 0 };
  }
}

/** The text of a piece of HTML, on one line. */
const textOf = html => new DOMParser().parseFromString(html, "text/html").body.textContent
  .replace(/\s+/g, " ").trim();

/** The slug of the paper whose page is at an address; empty for any other section. */
const paper = location => location.match(/^papers\/(\w+)\.html$/)?.[1] ?? "";

/** Load the finder for the sections of all pages, from the index of the theme's plugin. */
export async function load() {
  const response = await fetch(new URL("search/search_index.json", ROOT));
  if (!response.ok) throw new Error(`${response.url}: ${response.status}`);
  const { docs } = await response.json();
  const sections = docs.map(({ location, title, text }) =>
    ({ id: location, slug: paper(location), title: textOf(title), text: textOf(text) }));
  const finder = await new Finder().learn(sections);
  // Results also show the title of the page.
  for (const one of sections) one.page = finder.known.get(one.id.split("#")[0])?.title ?? one.title;
  return finder;
}

/** The absolute address of a page of the site. */
export const address = path => new URL(path, ROOT).href;
