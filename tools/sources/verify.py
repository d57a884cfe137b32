"""Comparison of an entry with the sources of its identifiers.

A contradiction is an error, a source that does not answer a warning. If the versions of a paper
differ, the entry has to agree with one of them. For a preprint, all sources are searched for its
venue, and new facts are warnings.
"""

from __future__ import annotations

from collections.abc import Iterator

from tools.catalog.documents.diagnostics import Level, Problem
from tools.catalog.entries.loader import Entry
from tools.sources.client import Client
from tools.sources.errors import AnotherPaper, NotFound, SourceError
from tools.sources.lookup.queries import fetch, references
from tools.sources.names.similarity import SAME, same_names, similarity
from tools.sources.resolve import Inquiry
from tools.sources.services.facts import Facts

WRONG = (AnotherPaper, NotFound)
"""Errors caused by the identifier and not by the network."""


def verify(entry: Entry, client: Client) -> Iterator[Problem]:
    """Yield the contradictions between an entry and the source of each of its identifiers."""
    found: list[Facts] = []
    asked = list(references(dict(entry.paper.ids)))
    for reference in asked:
        try:
            found.append(fetch(reference, client))
        except SourceError as error:
            level = Level.ERROR if isinstance(error, WRONG) else Level.WARNING
            yield entry.problem("ids", reference.scheme, message=error.problem, level=level)
    for check in (_title, _authors, _dates):
        yield from check(entry, found)
    if found and entry.paper.status == "preprint":
        inquiry = Inquiry(found, asked, client)
        inquiry.search_venues()
        found = inquiry.found
        yield from _code(entry, found)
    yield from _venue(entry, found)


def _title(entry: Entry, found: list[Facts]) -> Iterator[Problem]:
    """The title at each source must be one of the entry's titles."""
    own = (entry.paper.title, *(entry.paper.other_titles or ()))
    for facts in found:
        if facts.title and max(similarity(title, facts.title) for title in own) < SAME:
            yield entry.problem("title", message=f"{facts.source} has '{facts.title}'")


def _authors(entry: Entry, found: list[Facts]) -> Iterator[Problem]:
    named = [facts for facts in found if facts.authors]
    if named and not any(same_names(entry.paper.authors or (), facts.authors) for facts in named):
        names = ", ".join(named[0].authors)
        yield entry.problem(
            "authors", message=f"{named[0].source} has {len(named[0].authors)}: {names[:300]}"
        )


def _dates(entry: Entry, found: list[Facts]) -> Iterator[Problem]:
    paper = entry.paper
    for facts in found:
        if paper.submitted and facts.submitted and not _fits(paper.submitted, facts.submitted):
            yield entry.problem("submitted", message=f"{facts.source} has {facts.submitted}")
    published = [facts.published for facts in found if facts.published and facts.venue]
    if paper.published and published and not any(_fits(paper.published, p) for p in published):
        yield entry.problem("published", message=f"the sources have {', '.join(published)}")


def _fits(one: str, other: str) -> bool:
    """Whether two dates agree at the coarser precision of the two."""
    return one.startswith(other) or other.startswith(one)


def _code(entry: Entry, found: list[Facts]) -> Iterator[Problem]:
    """A repository that a source names must be in the entry, unless it has another one."""
    named = {url: facts.source for facts in reversed(found) for url in facts.code}
    for url, source in named.items() if not entry.paper.code else ():
        message = f"{source} names {url}, and the entry has no code"
        yield entry.problem("code", message=message, level=Level.WARNING)


def _venue(entry: Entry, found: list[Facts]) -> Iterator[Problem]:
    paper = entry.paper
    placed = [facts for facts in found if facts.venue]
    if not placed:
        return
    named = ", ".join(f"{facts.source} has {facts.venue} {facts.year or ''}" for facts in placed)
    if paper.venue is None:
        message = f"{named.strip()}: the preprint has been published"
        yield entry.problem("venue", message=message, level=Level.WARNING)
        return
    same = [facts for facts in placed if facts.venue == paper.venue]
    if not same:
        yield entry.problem("venue", message=named.strip())
    years = {facts.year for facts in same if facts.year}
    if years and paper.year not in years:
        yield entry.problem("year", message=named.strip())
    for name in ("volume", "number", "pages"):
        values = {value for facts in same if (value := getattr(facts, name))}
        if values and (own := getattr(paper, name)) and own not in values:
            yield entry.problem(name, message=f"{same[0].source} has {', '.join(sorted(values))}")
