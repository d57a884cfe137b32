"""Crossref: the facts that publishers registered under a DOI."""

from __future__ import annotations

from urllib.parse import quote

from pydantic import AliasPath, Field

from tools.sources.client import Page, Site
from tools.sources.names.references import Reference
from tools.sources.names.text import day, pages
from tools.sources.names.venues import venue_facts
from tools.sources.services.facts import Facts
from tools.sources.services.formats import Answer, malformed, read_json
from tools.sources.services.service import Service


class Contributor(Answer):
    """An author: a person, or an organisation with only a name."""

    given: str = ""
    family: str = ""
    suffix: str = ""
    name: str = ""

    def __str__(self) -> str:
        return self.name or " ".join(filter(None, (self.given, self.family, self.suffix)))


class Work(Answer):
    """A record of Crossref."""

    doi: str = Field(alias="DOI")
    kind: str = Field("", alias="type")
    title: tuple[str, ...] = ()
    subtitle: tuple[str, ...] = ()
    author: tuple[Contributor, ...] = ()
    container: tuple[str, ...] = Field((), alias="container-title")
    event: str = Field("", validation_alias=AliasPath("event", "name"))
    issued: tuple[int | None, ...] = Field(
        (), validation_alias=AliasPath("issued", "date-parts", 0)
    )
    """Year, month and day, as far as known."""
    volume: str | None = None
    issue: str | None = None
    page: str | None = None
    abstract: str | None = None


class Envelope(Answer):
    """An answer of Crossref."""

    message: Work


class Crossref(Service):
    """Looked up by DOI; answers in JSON."""

    sites = (Site("Crossref", "api.crossref.org"),)
    schemes = ("doi",)
    registers_dois = True

    def path(self, reference: Reference) -> str:
        """Request the record of one DOI."""
        return f"/works/{quote(reference.value, safe='')}"

    def read(self, page: Page, reference: Reference) -> Facts:
        """Parse the record; a DOI of a preprint server gives no venue."""
        work = read_json(page, Envelope).message
        if not work.title:
            raise malformed(page, "its record has no title")
        names = [] if work.kind == "posted-content" else [*work.container, work.event]
        return Facts(
            source=self.name,
            title=": ".join([*work.title[:1], *work.subtitle[:1]]),
            authors=tuple(map(str, work.author)),
            abstract=work.abstract,
            published=day(*work.issued),
            year=work.issued[0] if work.issued else None,
            volume=work.volume,
            number=work.issue,
            pages=pages(work.page),
            ids={"doi": work.doi.lower()},
            mentions=(work.doi,),
            **venue_facts(self.name, names),
        )
