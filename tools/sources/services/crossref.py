"""Crossref: what publishers registered under a DOI."""

from __future__ import annotations

from urllib.parse import quote

from pydantic import Field

from tools.sources.lookup.identification import Reference
from tools.sources.lookup.normalization import Venue, named, venue
from tools.sources.names.text import day, pages, tidy
from tools.sources.services.facts import Facts
from tools.sources.services.formats import Answer, malformed, read_json
from tools.sources.web.client import Client
from tools.sources.web.errors import AnotherPaper
from tools.sources.web.hosts import Site
from tools.sources.web.page import JSON, Page

SITE = Site("Crossref", "api.crossref.org")


class Contributor(Answer):
    """An author: a person, or an organisation that has only a name."""

    given: str = ""
    family: str = ""
    suffix: str = ""
    name: str = ""

    def __str__(self) -> str:
        return self.name or " ".join(filter(None, (self.given, self.family, self.suffix)))


class Issued(Answer):
    """A date as far as it is known."""

    parts: tuple[tuple[int | None, ...], ...] = Field((), alias="date-parts")


class Event(Answer):
    """A conference."""

    name: str = ""


class Work(Answer):
    """A record of Crossref."""

    doi: str = Field(alias="DOI")
    kind: str = Field("", alias="type")
    title: tuple[str, ...] = ()
    subtitle: tuple[str, ...] = ()
    author: tuple[Contributor, ...] = ()
    container: tuple[str, ...] = Field((), alias="container-title")
    event: Event = Event()
    issued: Issued = Issued()
    volume: str | None = None
    issue: str | None = None
    page: str | None = None
    abstract: str | None = None


class Envelope(Answer):
    """An answer of Crossref."""

    message: Work


def fetch(reference: Reference, client: Client) -> Facts:
    """Return what Crossref has under a DOI; raises `SourceError`."""

    def parse(page: Page) -> Facts:
        work = read_json(page, Envelope).message
        if work.doi.lower() != reference.value:
            raise AnotherPaper(
                f"Crossref was asked for {reference.value} and answered about {work.doi[:80]}",
                "paste that DOI if it is the paper, or check the identifier",
            )
        if not work.title:
            raise malformed(page, "its record has no title")
        return tidy(_facts(work))

    return client.read(SITE, f"/works/{quote(reference.value, safe='')}", JSON, parse)


def _facts(work: Work) -> Facts:
    parts = work.issued.parts[0] if work.issued.parts else []
    # A preprint server's record is no publication.
    names = [] if work.kind == "posted-content" else [*work.container, work.event.name]
    where: Venue = venue("Crossref", names)
    return Facts(
        source="Crossref",
        title=": ".join([*work.title[:1], *work.subtitle[:1]]),
        authors=tuple(map(str, work.author)),
        abstract=work.abstract,
        published=day(*parts),
        year=parts[0] if parts else None,
        volume=work.volume,
        number=work.issue,
        pages=pages(work.page),
        ids=named(work.doi).ids,
        **where,
    )
