"""Papers that the catalog has or declined, found by link, title or repository."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import unquote, urlsplit

from rapidfuzz import fuzz, process

from tools.catalog.entries.declined import DeclinedPaper
from tools.catalog.schema.addresses import pages
from tools.catalog.schema.identifiers import page
from tools.catalog.schema.paper import Paper
from tools.catalog.schema.vocabulary import fold
from tools.discovery.list_parser import Link
from tools.sources.lookup.identification import identify
from tools.sources.names.references import Unidentified

SAME = 90.0
"""Similarity of two titles, out of 100, from which they count as spellings of the same title."""

Key = tuple[str, str]


def add_command(title: str, links: Iterable[Link]) -> str:
    """Return the command that adds a paper, by a link with an identifier or by its title."""
    named = ((link.url, _reference(link.url)) for link in links if not link.is_code)
    written = (key[1] if key[0] == "arxiv" else url for url, key in named if key)
    return f"python tools/add_paper.py {shlex.quote(next(written, title))}"


class Index:
    """Papers by link, title and repository, each with a text such as its slug."""

    def __init__(self) -> None:
        self.links: dict[Key, str] = {}
        self.code: dict[Key, str] = {}
        self.titles: dict[str, str] = {}

    def add(
        self, text: str, titles: Iterable[str], pages: Iterable[str], code: Iterable[str] = ()
    ) -> None:
        """Add a paper with its titles and the addresses of its pages and repositories."""
        self.titles |= dict.fromkeys(map(fold, titles), text)
        self.links |= {key: text for address in pages for key in _keys(address)}
        self.code |= {key: text for address in code for key in _keys(address)}

    def find(self, title: str, links: Sequence[Link]) -> str:
        """Return the text of a paper, found by link, title or repository; empty if new."""
        if text := _first(self.links, links):
            return text
        alike = process.extractOne(
            fold(title), self.titles.keys(), scorer=fuzz.ratio, score_cutoff=SAME
        )
        return self.titles[alike[0]] if alike else _first(self.code, links)


def index_papers(papers: Mapping[str, Paper]) -> Index:
    """Index the entries of the catalog by slug."""
    index = Index()
    for slug, paper in papers.items():
        if paper.has_paper:
            titles = (paper.title, *_named(paper), *(paper.other_titles or ()))
            # An unofficial repository usually belongs to another paper.
            official = (code.url for code in paper.code or () if code.official)
            index.add(slug, titles, (address for _, address in pages(paper)), official)
    return index


def index_declined(declined: Iterable[DeclinedPaper]) -> Index:
    """Index the declined papers by the reason."""
    index = Index()
    for paper in declined:
        index.add(paper.reason, (paper.title,), (page(*identifier) for identifier in paper.ids))
    return index


def _first(known: Mapping[Key, str], links: Iterable[Link]) -> str:
    keys = (key for link in links for key in _keys(link.url))
    return next((known[key] for key in keys if key in known), "")


def _keys(url: str) -> list[Key]:
    """Return the keys of a page: the identifiers in its address, and the address itself."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return []
    host = (parts.hostname or "").removeprefix("www.")
    path = unquote(parts.path).rstrip("/").removesuffix(".git")
    if host in ("github.com", "gitlab.com"):
        return [("code", f"{host}{path}".lower())]
    found = [("page", f"{host}{path}?{parts.query}".lower())]
    if number := re.search(r"/document/(\d+)", path):
        found.append(("ieee", number[1]))
    if name := _reference(url):
        found.append(name)
    return found


def _reference(url: str) -> Key | None:
    try:
        named = identify(url)
    except Unidentified:
        return None
    return named.scheme, named.value.lower() if named.scheme == "doi" else named.value


def _named(paper: Paper) -> tuple[str, ...]:
    """Return the title after the name of the method, as many lists write it."""
    return (f"{paper.name}: {paper.title}",) if paper.name else ()
