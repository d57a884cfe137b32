"""Line-by-line comparison of a list with the catalog."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote, urlsplit

from rapidfuzz import fuzz, process

from tools.catalog.entries.declined import DeclinedPaper
from tools.catalog.exports.awesome_list import venue
from tools.catalog.schema.addresses import BEST, best_code, best_page, pages
from tools.catalog.schema.identifiers import page
from tools.catalog.schema.paper import Paper
from tools.catalog.schema.vocabulary import fold, vocabulary
from tools.lists.parser import Item, Link
from tools.sources.lookup.identification import identify
from tools.sources.names.references import Unidentified
from tools.sources.names.venues import venue_term

SAME = 90.0
"""Similarity of two titles, out of 100, from which they count as spellings of the same title."""

Level = Literal["error", "warning", "hint"]
Status = Literal["known", "new", "contradicts", "declined"]
Key = tuple[str, str]


@dataclass(frozen=True)
class Finding:
    """One difference between a line and the catalog."""

    level: Level
    """Error: contradicts the catalog. Warning: not confirmed by it. Hint: could be improved."""
    field: str
    listed: str
    catalog: str
    message: str


@dataclass(frozen=True)
class Comparison:
    """One line of a list with its paper in the catalog, if there is one."""

    item: Item
    slug: str = ""
    findings: list[Finding] = field(default_factory=list)
    declined: str = ""
    """Why the catalog does not include the paper, if it was declined."""

    @property
    def status(self) -> Status:
        """Whether the paper is new, declined, known, or known with contradicting facts."""
        if not self.slug:
            return "declined" if self.declined else "new"
        return "contradicts" if any(f.level != "hint" for f in self.findings) else "known"

    @property
    def command(self) -> str:
        """The command that adds a new paper; empty for other papers."""
        return add_command(self.item.title, self.item.links) if self.status == "new" else ""


def compare(
    items: Iterable[Item],
    papers: Mapping[str, Paper],
    declined: Sequence[DeclinedPaper] = (),
) -> list[Comparison]:
    """Find the paper of each line and the differences from its entry."""
    index, rejected = index_papers(papers), index_declined(declined)
    compared = []
    lines: dict[str, int] = {}
    for item in items:
        slug = index.find(item.title, item.links)
        reason = "" if slug else rejected.find(item.title, item.links)
        findings = list(_findings(item, papers[slug])) if slug else []
        if slug and (first := lines.setdefault(slug, item.line)) != item.line:
            message = f"the paper is already in line {first}"
            findings.append(Finding("warning", "line", str(item.line), str(first), message))
        compared.append(Comparison(item, slug, findings, reason))
    return compared


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


def _findings(item: Item, paper: Paper) -> Iterator[Finding]:
    yield from _title(item, paper)
    yield from _date(item, paper)
    yield from _venue(item, paper)
    yield from _group(item, paper)
    for link in item.links:
        yield from _repository(link, paper) if link.is_code else _page(link, paper)
    code = best_code(paper)
    if code and code.official and not any(link.is_code for link in item.links):
        yield Finding("warning", "code", "", code.url, "the authors' code is missing")


def _named(paper: Paper) -> tuple[str, ...]:
    """Return the title after the name of the method, as many lists write it."""
    return (f"{paper.name}: {paper.title}",) if paper.name else ()


def _title(item: Item, paper: Paper) -> Iterator[Finding]:
    listed, title = item.title, paper.title
    others = {fold(other): other for other in paper.other_titles or ()}
    named = f"{title} ({next(iter(others.values()), '')})"
    if listed in (title, named, *_named(paper)):
        return
    level: Level
    if fold(listed) in others:
        level, message = "hint", "this is the title of another version"
    elif listed.casefold() == title.casefold():
        level, message = "warning", "capitals differ"
    elif fuzz.ratio(fold(listed), fold(title)) >= SAME:
        level, message = "warning", "spelled differently"
    else:
        level, message = "error", "the linked paper has another title"
    yield Finding(level, "title", listed, title, message)


def _date(item: Item, paper: Paper) -> Iterator[Finding]:
    listed = item.date
    known = {date for date in (paper.submitted, paper.published) if date}
    exact = {date[: len(listed)] for date in known}
    if not listed or listed in exact or listed == str(paper.year):
        return
    first = paper.submitted or ""
    public = f"first public on {first}" if first else f"of {paper.year}"
    out = f"published {paper.published}" if paper.published else f"published in {paper.year}"
    has = "; ".join([public] * bool(first or not paper.venue) + [out] * bool(paper.venue))
    early = bool(first) and listed < first[: len(listed)]
    unknown = paper.venue and len(paper.published or "") < len(listed)
    if not early and unknown and listed[:4] == str(paper.year):
        message = "the month of publication is not in the catalog"
        yield Finding("warning", "date", listed, has, message)
    else:
        message = (
            "the date is before the first version"
            if early
            else "the date is neither that of the first version nor that of the publication"
        )
        yield Finding("error", "date", listed, has, message)


def _venue(item: Item, paper: Paper) -> Iterator[Finding]:
    if not item.venue:
        return
    listed, has = venue_term(item.venue), venue(paper)
    year = re.search(r"\b(19|20)\d\d\b", item.venue)
    label = vocabulary()["venues"].terms[paper.venue].label if paper.venue else "arXiv"
    if listed != (paper.venue or "arxiv"):
        message = "it has been published" if listed == "arxiv" else "it has another venue"
        message = message if paper.venue else "the catalog has it as a preprint"
        yield Finding("error", "venue", item.venue, has, message)
    elif year and paper.venue and int(year[0]) != paper.year:
        yield Finding("error", "venue", item.venue, has, "the year differs")
    elif fold(label) not in fold(item.venue):
        yield Finding("warning", "venue", item.venue, has, f"the venue is written {label}")


def _group(item: Item, paper: Paper) -> Iterator[Finding]:
    listed = _kind_of_heading(item.group)
    words = paper.taxonomy.granularity if paper.taxonomy and paper.kind != "survey" else ()
    if listed and listed not in (*words, paper.kind):
        has = ", ".join(words) or paper.kind
        yield Finding("error", "group", item.group, has, "it belongs to another group")


def _kind_of_heading(heading: str) -> str:
    """Return the granularity or kind in a heading; the longest matching name counts."""
    names = {
        fold(name): term.word
        for field in ("granularity", "kind")
        for term in vocabulary()[field].terms.values()
        for name in (term.word, *term.synonyms)
        if field == "granularity" or term.word == "survey"
    }
    fitting = [name for name in names if re.search(rf"\b{name}s?\b", fold(heading))]
    return names[max(fitting, key=len)] if fitting else ""


def _page(link: Link, paper: Paper) -> Iterator[Finding]:
    best = best_page(paper)
    keys = set(_keys(link.url))
    known = [name for name, address in pages(paper) if keys & set(_keys(address))]
    if "/10.5555/" in link.url:
        message = "the link uses an internal handle of ACM, which is not a DOI"
        yield Finding("error", "link", link.url, best, message)
    elif not known:
        message = "the catalog does not have this page of the paper"
        yield Finding("warning", "link", link.url, best, message)
    elif fold(link.label) != "arxiv" and BEST.index(known[0]) > BEST.index(pages(paper)[0][0]):
        yield Finding("hint", "link", link.url, best, "a better page exists")


def _repository(link: Link, paper: Paper) -> Iterator[Finding]:
    found = [code for code in paper.code or () if set(_keys(code.url)) & set(_keys(link.url))]
    better = best_code(paper)
    if not found:
        message = "the catalog does not have this repository of the paper"
        has = better.url if better else ""
        yield Finding("warning", "code", link.url, has, message)
    for code in found:
        if code.withdrawn:
            message = "the code was removed from this repository"
            yield Finding("error", "code", link.url, code.note or "", message)
        elif code.note:
            yield Finding("hint", "code", link.url, code.note, "the catalog has a note on it")
