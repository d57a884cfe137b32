"""What the search looks in: every paper with all it is known by, and the texts of all pages.

They are files that the browser loads when somebody begins to search, and indexes there by
MiniSearch. The catalog finds papers alone, and reads in its own rows what is in `TEXTS`.

`minisearch/minisearch.js` is `dist/es/index.js` of version 7.2.0 on npm, without its last comment.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tools.catalog.schema.paper import Paper
from tools.catalog.schema.vocabulary import UNKNOWN, vocabulary
from tools.site.atlas import Atlas
from tools.site.facts import FACETS, words_of
from tools.site.render import seen
from tools.site.sections import Section, front, sections, unique
from tools.site.vega import bundled
from tools.site.words import built, venue

PAPERS, TEXTS = "search/papers.json", "search/texts.json"
PAGES, PROGRAM = "search/pages.json", "search/minisearch.js"
EXCERPT = 160
"""Characters of a text that a result shows."""
CODE = "in-the-code"
"""The section of a README that is a table of lines of code."""
SOURCE = Path(__file__).parents[1] / "minisearch"


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield what finds, and the papers to be found."""
    yield PROGRAM, program()
    yield PAPERS, papers(atlas)
    yield TEXTS, texts(atlas)


def passages(atlas: Atlas, made: Mapping[str, str]) -> str:
    """Write what stands on all the pages that are `made`."""
    return _json({"pages": list(_passages(atlas, made))})


def papers(atlas: Atlas) -> str:
    """Write what papers are known by beside their texts.

    Each word that several have stands there once: its label, and what else it is called.
    """
    words: dict[tuple[str, str], int] = {}
    listed = [_paper(slug, paper, words) for slug, paper in atlas.papers.items()]
    return _json({"words": [_names(*word) for word in words], "papers": listed})


def texts(atlas: Atlas) -> str:
    """Write what pages show of papers: name, title, authors, venue and summary."""
    return _json(
        {
            slug: {
                "name": atlas.names[slug],
                "title": paper.title,
                "authors": ", ".join(paper.authors or ()),
                "venue": venue(paper) if paper.has_paper else "",
                "summary": paper.summary,
            }
            for slug, paper in atlas.papers.items()
        }
    )


def _paper(slug: str, paper: Paper, words: dict[tuple[str, str], int]) -> dict[str, Any]:
    about = {
        "slug": slug,
        "also": " ".join((*(paper.other_titles or ()), *(paper.aliases or ()))),
        "ids": " ".join(value for _, value in paper.ids),
        "words": [words.setdefault(word, len(words)) for word in _words(paper)],
    }
    return {name: value for name, value in about.items() if value}


def _words(paper: Paper) -> Iterator[tuple[str, str]]:
    """Yield the words of a paper that say what it is; how deep it was read is none of them."""
    for field, _ in FACETS:
        if field != "read":
            yield from ((field, word) for word in words_of(paper, field) if word != UNKNOWN)
    yield "kind", paper.kind
    yield from (("models", model) for model in paper.models or ())
    if paper.venue:
        yield "venues", paper.venue


def _names(field: str, word: str) -> list[str]:
    """Write a word of the vocabulary as readers do, and then what else it is called.

    The definition of a venue is its whole name.
    """
    term = vocabulary()[field].terms.get(word)
    if not term:
        return [word, ""]
    whole = (term.definition,) if field == "venues" else ()
    return [term.label, ", ".join((*whole, *term.synonyms))]


def _passages(atlas: Atlas, made: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Yield each section of each page that is searched; of papers what their code explains."""
    for path, text in made.items():
        folder, _, slug = path.removesuffix(".md").rpartition("/")
        paper = folder == "papers"
        if not path.endswith(".md") or (paper and slug not in atlas.methods):
            continue
        said, body = front(text)
        if said.get("search", {}).get("exclude"):
            continue
        title = atlas.names[slug] if paper else said["title"]
        first, *rest = sections(body)
        if not paper:  # which is found as a paper
            yield _section(path, title, first, said.get("description", ""))
        yield from (
            _section(path, title, one)
            for one in rest
            if one.anchor and one.text and one.anchor != CODE
        )


def _section(path: str, title: str, section: Section, about: str = "") -> dict[str, str]:
    text = section.text
    start = about or _start(text)
    known = set(unique(start))
    made = {
        "path": built(path),
        "anchor": section.anchor,
        "title": title,
        "heading": section.heading,
        "start": start,
        "text": " ".join(word for word in unique(text) if word not in known),
    }
    return {name: value for name, value in made.items() if value}


def _start(text: str) -> str:
    """Return the first words of a text, whole ones."""
    if len(text) <= EXCERPT:
        return text
    return text[: EXCERPT + 1].rpartition(" ")[0] + " …"


@cache
def program() -> str:
    """Return MiniSearch as a module for the browser, made small, under its licence."""
    licence = (SOURCE / "LICENSE.txt").read_text(encoding="utf-8")
    source = (SOURCE / "minisearch.js").read_text(encoding="utf-8")
    head = f"MiniSearch 7.2.0, https://lucaong.github.io/minisearch/\n\n{licence}"
    return f"/*! {head}*/\n{bundled('minisearch', source)}"


def _json(content: Any) -> str:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return seen(text)
