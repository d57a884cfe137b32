// The one search of the site: papers by all they are known by, pages by their texts. What it
// looks in is loaded when somebody begins to search.

import MiniSearch from "../../search/minisearch.js";

const ROOT = new URL("../../", import.meta.url);
/** What a hit in a field is worth. Of a page `start` and `text` are what it says. */
const WORTH = {
  name: 12, slug: 10, ids: 10, title: 4, heading: 6, authors: 5, venue: 4, words: 4, also: 3,
  synonyms: 2, summary: 1.5, start: 1.5, text: 1,
};

const plain = /^[\x20-\x7e]*$/;
/** Write a text in small letters without accents. */
export const fold = text =>
  (plain.test(text) ? text : text.normalize("NFKD").replace(/\p{M}/gu, "")).toLowerCase();

// What belongs together although it is no letter: 2:4, n:m, 2306.11695.
const tokens = text => fold(text).match(/[\p{L}\p{N}]+(?:[.:][\p{L}\p{N}]+)*/gu) ?? [];

// Both spellings of what ends in -ise or -ize.
const respelled = word => word.replace(/i([sz])(?=(?:ation|e|ing)\w?$)/, (_, one) => `i${one === "s" ? "z" : "s"}`);

/** The words of what is searched; SparseGPT and semi-structured are found as one and as two. */
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

/** The words of a question; of an address of a paper its identifier alone counts. */
function asked(text) {
  const arxiv = /arxiv|^\s*\d/i.test(text) && text.match(/\b\d{4}\.\d{4,5}(?=v\d|\b)/);
  if (arxiv) return [arxiv[0]];
  const last = text.match(/^\s*https?:\/\/.*?([^/=]+?)(?:\.html|\.pdf)?\/?\s*$/);
  return tokens(last ? last[1] : text);
}

// A digit more or less is another year or paper, and short words are near to too many.
const tolerance = word => /\d/.test(word) || word.length < 4 ? false : word.length < 7 ? 1 : 2;

export class Finder {
  constructor() {
    this.known = new Map();
    this.index = new MiniSearch({ fields: Object.keys(WORTH), tokenize: terms, processTerm: term => term });
  }

  /** Take in documents, each with an `id` and fields named as in `WORTH`, bit by bit. */
  async learn(documents) {
    for (const one of documents) this.known.set(one.id, one);
    await this.index.addAllAsync(documents, { chunkSize: 40 });
    return this;
  }

  /**
   * Find what has all words, each also as the beginning of a longer one: ids with what they are
   * worth, the best first. Only if there is none, what has words spelled alike (`near`).
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

async function fetched(name) {
  const response = await fetch(new URL(`search/${name}.json`, ROOT));
  if (!response.ok) throw new Error(`${response.url}: ${response.status}`);
  return response.json();
}

/** The papers as documents, their words written out; `texts` by slug are what pages show of them. */
async function papers(texts) {
  const [{ words, papers }, shown] = await Promise.all([fetched("papers"), texts]);
  return papers.map(paper => {
    const own = (paper.words ?? []).map(place => words[place]);
    return {
      ...shown[paper.slug],
      ...paper,
      id: paper.slug,
      words: own.map(([label]) => label).join(", "),
      synonyms: own.map(([, others]) => others).join(", "),
    };
  });
}

async function pages() {
  const { pages } = await fetched("pages");
  return pages.map(page => ({ ...page, id: page.path + (page.anchor ? `#${page.anchor}` : "") }));
}

/** Load what finds papers and pages; papers alone for a page that has their texts itself. */
export async function load(texts) {
  const parts = texts ? [papers(texts)] : [papers(fetched("texts")), pages()];
  return new Finder().learn((await Promise.all(parts)).flat());
}

/** The address of a page of the site, from wherever the reader is. */
export const address = path => new URL(path, ROOT).href;
