"""Comparison of an entry with the sources of its identifiers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tools.catalog.documents.diagnostics import Level
from tools.catalog.schema.paper import Paper
from tools.sources.client import Client
from tools.sources.errors import AnotherPaper, NotFound, SourceError
from tools.sources.lookup.queries import fetch, references
from tools.sources.names.similarity import SAME, same_names, similarity
from tools.sources.services.facts import Facts

WRONG = (AnotherPaper, NotFound)
"""Errors caused by the identifier and not by the network."""


@dataclass(frozen=True)
class Finding:
    """One contradiction between a source and an entry."""

    field: str
    """The path of the field: `ids.doi`."""
    message: str
    level: Level


def verify(paper: Paper, client: Client) -> list[Finding]:
    """Compare an entry with the source of each of its identifiers.

    A contradiction is an error, a source that does not answer a warning. If the versions of a paper
    differ, the entry has to agree with one of them.
    """
    findings: list[Finding] = []
    found: list[Facts] = []
    for reference in references(dict(paper.ids)):
        try:
            found.append(fetch(reference, client))
        except SourceError as error:
            level = Level.ERROR if isinstance(error, WRONG) else Level.WARNING
            findings.append(Finding(f"ids.{reference.scheme}", error.problem, level))
    findings += _title(paper, found)
    findings += _authors(paper, found)
    findings += _dates(paper, found)
    findings += _venue(paper, found)
    return findings


def _title(paper: Paper, found: list[Facts]) -> Iterator[Finding]:
    """The title at each source must be one of the entry's titles."""
    own = (paper.title, *(paper.other_titles or ()))
    for facts in found:
        if facts.title and max(similarity(title, facts.title) for title in own) < SAME:
            yield _error("title", f"{facts.source} has '{facts.title}'")


def _authors(paper: Paper, found: list[Facts]) -> Iterator[Finding]:
    named = [facts for facts in found if facts.authors]
    if named and not any(same_names(paper.authors or (), facts.authors) for facts in named):
        names = ", ".join(named[0].authors)
        yield _error("authors", f"{named[0].source} has {len(named[0].authors)}: {names[:300]}")


def _dates(paper: Paper, found: list[Facts]) -> Iterator[Finding]:
    for facts in found:
        if paper.submitted and facts.submitted and not _fits(paper.submitted, facts.submitted):
            yield _error("submitted", f"{facts.source} has {facts.submitted}")
    published = [facts.published for facts in found if facts.published and facts.venue]
    if paper.published and published and not any(_fits(paper.published, p) for p in published):
        yield _error("published", f"the sources have {', '.join(published)}")


def _fits(one: str, other: str) -> bool:
    """Whether two dates agree at the coarser precision of the two."""
    return one.startswith(other) or other.startswith(one)


def _venue(paper: Paper, found: list[Facts]) -> Iterator[Finding]:
    placed = [facts for facts in found if facts.venue]
    if not placed:
        return
    named = ", ".join(f"{facts.source} has {facts.venue} {facts.year or ''}" for facts in placed)
    if paper.venue is None:
        message = f"{named.strip()}: the preprint has been published"
        yield Finding("venue", message, Level.WARNING)
        return
    same = [facts for facts in placed if facts.venue == paper.venue]
    if not same:
        yield _error("venue", named.strip())
    years = {facts.year for facts in same if facts.year}
    if years and paper.year not in years:
        yield _error("year", named.strip())
    for name in ("volume", "number", "pages"):
        values = {value for facts in same if (value := getattr(facts, name))}
        if values and (own := getattr(paper, name)) and own not in values:
            yield _error(name, f"{same[0].source} has {', '.join(sorted(values))}")


def _error(field: str, message: str) -> Finding:
    return Finding(field, message, Level.ERROR)
