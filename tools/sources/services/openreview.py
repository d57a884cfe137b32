"""OpenReview: what ICLR, NeurIPS, ICML, TMLR and others accepted.

A paper that was submitted, withdrawn or rejected is a preprint here and nothing more.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from pydantic import BeforeValidator

from tools.sources.lookup.identification import Reference
from tools.sources.names.text import repositories, tidy
from tools.sources.names.venues import accepted, year_in
from tools.sources.services.facts import Facts
from tools.sources.services.formats import Answer, malformed, read_json
from tools.sources.web.client import Client
from tools.sources.web.errors import CHECK, AnotherPaper, Denied, NotFound
from tools.sources.web.hosts import Site
from tools.sources.web.page import JSON, Page

SITE = Site("OpenReview", "api2.openreview.net")
OLD = Site("OpenReview", "api.openreview.net")
"""Version 1, which holds most venues up to 2023."""


def _unwrap(value: Any) -> Any:
    """Version 2 wraps each value: `{"value": ...}`."""
    return value.get("value") if isinstance(value, dict) else value


Text = Annotated[str | None, BeforeValidator(_unwrap)]
Texts = Annotated[list[str] | None, BeforeValidator(_unwrap)]


class Content(Answer):
    """What a note says."""

    title: Text = None
    authors: Texts = None
    abstract: Text = None
    venue: Text = None
    venueid: Text = None


class Note(Answer):
    """A submission, or a comment on one."""

    id: str
    forum: str
    cdate: int | None = None
    pdate: int | None = None
    content: Content = Content()


class Notes(Answer):
    """An answer of OpenReview."""

    notes: tuple[Note, ...] = ()


def fetch(reference: Reference, client: Client) -> Facts:
    """Return what OpenReview has under a forum's id; raises `SourceError`."""

    def parse(page: Page) -> Facts:
        notes = read_json(page, Notes).notes
        if not notes:
            raise NotFound(f"OpenReview has no public paper {reference.value}", CHECK)
        note = notes[0]
        if note.id != reference.value or note.forum != note.id:
            raise AnotherPaper(
                f"OpenReview was asked for {reference.value} and answered about the forum "
                f"{note.forum[:40]}",
                "paste that one if it is the paper, or check the identifier",
            )
        if not note.content.title:
            raise malformed(page, "its record has no title")
        return tidy(_facts(note))

    path = f"/notes?{urlencode({'id': reference.value})}"
    try:
        return client.read(SITE, path, JSON, parse)
    except (NotFound, Denied):
        return client.read(OLD, path, JSON, parse)


def search(title: str, client: Client) -> list[Facts]:
    """Return the accepted papers whose records hold the words of a title; raises `SourceError`."""

    def parse(page: Page) -> list[Facts]:
        notes = (note for note in read_json(page, Notes).notes if note.forum == note.id)
        found = [tidy(_facts(note)) for note in notes if note.content.title]
        # A paper often was at a workshop first.
        return sorted((f for f in found if f.venue), key=lambda f: f.track == "workshop")

    query = {"term": title, "content": "all", "group": "all", "source": "forum", "limit": 10}
    return client.read(SITE, f"/notes/search?{urlencode(query)}", JSON, parse)


def _facts(note: Note) -> Facts:
    content = note.content
    where = accepted(content.venue or "", content.venueid or "")
    date = (note.pdate if where else None) or note.cdate
    # A journal's venue names no year; its date of publication does.
    year = year_in(content.venue, content.venueid) if where else None
    authors = content.authors or []
    return Facts(
        source="OpenReview",
        title=content.title,
        authors=() if authors[:1] == ["Anonymous"] else tuple(authors),
        abstract=content.abstract,
        year=year or (_year(date) if date else None),
        venue=where.venue if where else None,
        track=where.track if where else None,
        ids={"openreview": note.id},
        code=repositories(content.abstract),
    )


def _year(milliseconds: int) -> int | None:
    year = datetime.fromtimestamp(min(milliseconds / 1000, 4e9), UTC).year
    return year if year >= 1950 else None
