"""What one source says of a paper, and what several say together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What one source says of one paper; what it does not say is left out."""

    source: str
    """Its name, as readers see it: arXiv, Crossref, ACL Anthology ..."""
    title: str | None = None
    other_titles: tuple[str, ...] = ()
    """Only of merged facts: the titles that other sources have."""
    authors: tuple[str, ...] = ()
    """In order, first name first."""
    abstract: str | None = None
    submitted: str | None = None
    """Day of the first public version, YYYY-MM-DD."""
    published: str | None = None
    """Publication in the venue, YYYY[-MM[-DD]]."""
    year: int | None = None
    """Of the venue if there is one, else of the first version."""
    venue: str | None = None
    """A word of vocabulary/venues.yaml."""
    track: str | None = None
    volume: str | None = None
    number: str | None = None
    pages: str | None = None
    ids: Mapping[str, str] = field(default_factory=dict)
    """By the names of `tools.catalog.schema.paper.Ids`."""
    links: Mapping[str, str] = field(default_factory=dict)
    """By the names of `tools.catalog.schema.paper.Links`."""
    mentions: tuple[str | None, ...] = ()
    """Only of a service: identifiers and addresses as it writes them, not yet sorted."""
    code: tuple[str, ...] = ()
    """Addresses of repositories that the authors name."""
    comment: str | None = None
    """What the authors say beside the abstract on arXiv, as they write it."""
    notes: tuple[str, ...] = ()
    """What a reader should know of this source's answer."""

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Yield name and value of every fact there is, `ids` and `links` one by one."""
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name in ("ids", "links"):
                yield from ((f"{each.name}.{name}", inner) for name, inner in value.items())
            elif value and each.name not in ("source", "mentions", "comment", "notes"):
                yield each.name, value


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """What all sources say together, and how far they agree."""

    facts: Facts
    origin: Mapping[str, str]
    """Source of each fact, by its name in `facts`: `title`, `ids.doi`."""
    disagreements: tuple[str, ...] = ()
    """One sentence each: the field, what each source has, whose word was taken."""
    unverified: tuple[str, ...] = ()
    """Facts that rest on a source that is often wrong, in the catalog's words: `ids.doi`."""
    notes: tuple[str, ...] = ()
    """What else a reader should know: sources that failed, venues without a word."""
