"""Facts about a paper: of one source, and merged from several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The facts of one source about one paper; unknown facts are None or empty."""

    source: str
    """The name of the source: arXiv, Crossref, ACL Anthology, ..."""
    title: str | None = None
    other_titles: tuple[str, ...] = ()
    """Titles at the other sources; only in merged facts."""
    authors: tuple[str, ...] = ()
    """In order, first name first."""
    abstract: str | None = None
    submitted: str | None = None
    """Date of the first public version, YYYY-MM-DD."""
    published: str | None = None
    """Date of publication at the venue, YYYY[-MM[-DD]]."""
    year: int | None = None
    """Year of the venue, or of the first version."""
    venue: str | None = None
    """A term of vocabulary/venues.yaml."""
    track: str | None = None
    volume: str | None = None
    number: str | None = None
    pages: str | None = None
    ids: Mapping[str, str] = field(default_factory=dict)
    """Identifiers by the field names of `tools.catalog.schema.paper.Ids`."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Addresses by the field names of `tools.catalog.schema.paper.Links`."""
    mentions: tuple[str | None, ...] = ()
    """Identifiers and addresses as the service writes them, moved to `ids` and `links` later."""
    code: tuple[str, ...] = ()
    """Addresses of the authors' repositories."""
    comment: str | None = None
    """The authors' comment on arXiv."""
    notes: tuple[str, ...] = ()
    """Remarks on this answer for the user."""

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Yield name and value of every known fact, `ids` and `links` one by one."""
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name in ("ids", "links"):
                yield from ((f"{each.name}.{name}", inner) for name, inner in value.items())
            elif value and each.name not in ("source", "mentions", "comment", "notes"):
                yield each.name, value


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """The merged facts of all sources, and their disagreements."""

    facts: Facts
    origin: Mapping[str, str]
    """Source of each fact, by its name in `facts`: `title`, `ids.doi`."""
    disagreements: tuple[str, ...] = ()
    """One sentence per field: the value of each source, and which one is used."""
    unverified: tuple[str, ...] = ()
    """Names of facts without a reliable source: `ids.doi`."""
    notes: tuple[str, ...] = ()
    """Other remarks: failed sources, unknown venues."""
