"""OpenReview: papers accepted at ICLR, NeurIPS, ICML, TMLR and other venues.

A paper that was only submitted, withdrawn or rejected is treated as a preprint.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import SplitResult, parse_qs, urlencode

from pydantic import AliasPath, BeforeValidator, Field

from tools.catalog.schema.identifiers import SCHEMES
from tools.sources.client import Page, Site
from tools.sources.errors import CHECK, AnotherPaper, NotFound
from tools.sources.names.references import Reference
from tools.sources.names.text import repositories
from tools.sources.names.venues import accepted, year_in
from tools.sources.services.facts import Facts
from tools.sources.services.formats import Answer, malformed, read_json
from tools.sources.services.service import Service


def _unwrap(value: Any) -> Any:
    """Return the value inside `{"value": ...}`, as version 2 of the API writes it."""
    return value.get("value") if isinstance(value, dict) else value


Text = Annotated[str | None, BeforeValidator(_unwrap)]
Texts = Annotated[list[str] | None, BeforeValidator(_unwrap)]


class Note(Answer):
    """A submission, or a comment on one."""

    id: str
    forum: str
    cdate: int | None = None
    pdate: int | None = None
    title: Text = Field(None, validation_alias=AliasPath("content", "title"))
    authors: Texts = Field(None, validation_alias=AliasPath("content", "authors"))
    abstract: Text = Field(None, validation_alias=AliasPath("content", "abstract"))
    venue: Text = Field(None, validation_alias=AliasPath("content", "venue"))
    venueid: Text = Field(None, validation_alias=AliasPath("content", "venueid"))


class Notes(Answer):
    """An answer of OpenReview."""

    notes: tuple[Note, ...] = ()


class OpenReview(Service):
    """Looked up by forum and searched by title, in both versions of the API; answers in JSON."""

    # Version 1 has most venues up to 2023.
    sites = (Site("OpenReview", "api2.openreview.net"), Site("OpenReview", "api.openreview.net"))
    schemes = ("openreview",)
    hosts = r"openreview\.net"
    hint = "paste the address of the forum (https://openreview.net/forum?id=...)"
    finds = ("venues",)

    def from_page(self, url: SplitResult) -> Reference | None:
        """Parse the `id` of a forum or PDF."""
        for value in parse_qs(url.query).get("id", []):
            if re.fullmatch(SCHEMES["openreview"].form, value.strip()):
                return Reference("openreview", value.strip())
        return None

    def path(self, reference: Reference) -> str:
        """Request the first note of a forum."""
        return f"/notes?{urlencode({'id': reference.value})}"

    def read(self, page: Page, reference: Reference) -> Facts:
        """Parse the first note, which must be a submission and not a comment."""
        notes = read_json(page, Notes).notes
        if not notes:
            raise NotFound(f"OpenReview has no public paper {reference.value}", CHECK)
        note = notes[0]
        if note.id != reference.value or note.forum != note.id:
            raise AnotherPaper(self.name, reference.value, f"the forum {note.forum}")
        if not note.title:
            raise malformed(page, "its record has no title")
        return self._facts(note)

    def query(self, title: str) -> str:
        """Search for records with the words of a title."""
        query = {"term": title, "content": "all", "group": "all", "source": "forum", "limit": 10}
        return f"/notes/search?{urlencode(query)}"

    def found(self, page: Page) -> list[Facts]:
        """Parse the accepted papers, workshops last."""
        notes = (note for note in read_json(page, Notes).notes if note.forum == note.id)
        found = [self._facts(note) for note in notes if note.title]
        return sorted((f for f in found if f.venue), key=lambda f: f.track == "workshop")

    def at_venue(self, group: str, words: str, start: int, count: int) -> str:
        """Return the path of a part of the submissions to a venue that contain some words.

        OpenReview shows guests search results, but no longer the whole list of a venue.
        """
        query = {"term": words, "content": "all", "group": group, "source": "forum"}
        return f"/notes/search?{urlencode(query | {'limit': count, 'offset': start})}"

    def submissions(self, page: Page) -> list[tuple[Facts, str]]:
        """Parse the facts and the venue id of each submission.

        The venue id of a submission is that of the venue only if it was accepted.
        """
        notes = read_json(page, Notes).notes
        return [(self._facts(note), note.venueid or "") for note in notes]

    def _facts(self, note: Note) -> Facts:
        where = accepted(note.venue or "", note.venueid or "")
        date = (note.pdate if where else None) or note.cdate
        # The venue of a journal has no year, so the date of publication is used.
        year = year_in(note.venue, note.venueid) if where else None
        authors = note.authors or []
        return Facts(
            source=self.name,
            title=note.title,
            authors=() if authors[:1] == ["Anonymous"] else tuple(authors),
            abstract=note.abstract,
            year=year or (datetime.fromtimestamp(date / 1000, UTC).year if date else None),
            venue=where.venue if where else None,
            track=where.track if where else None,
            ids={"openreview": note.id},
            code=repositories(note.abstract),
        )
