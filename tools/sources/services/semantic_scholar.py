"""Semantic Scholar: asked only where nobody else knows, for its venues are often wrong."""

from __future__ import annotations

from urllib.parse import quote

from pydantic import Field

from tools.sources.names.references import Reference
from tools.sources.names.venues import venue_facts
from tools.sources.services.facts import Facts
from tools.sources.services.formats import Answer, malformed, read_json
from tools.sources.services.service import Service
from tools.sources.web.hosts import Site
from tools.sources.web.page import JSON, Page

PREFIXES = {"arxiv": "ARXIV", "doi": "DOI", "anthology": "ACL"}
"""The schemes it knows, as it writes them."""
FIELDS = "title,authors,year,venue,externalIds"


class Author(Answer):
    """An author."""

    name: str


class ExternalIds(Answer):
    """Identifiers elsewhere."""

    arxiv: str | None = Field(None, alias="ArXiv")
    doi: str | None = Field(None, alias="DOI")
    anthology: str | None = Field(None, alias="ACL")


class Record(Answer):
    """An answer of Semantic Scholar."""

    title: str | None = None
    authors: tuple[Author, ...] = ()
    year: int | None = None
    venue: str | None = None
    ids: ExternalIds = Field(ExternalIds(), alias="externalIds")


class SemanticScholar(Service):
    """Answers in JSON, about identifiers of others."""

    sites = (Site("Semantic Scholar", "api.semanticscholar.org"),)
    kind = JSON
    schemes = tuple(PREFIXES)
    doubtful = True

    def path(self, reference: Reference) -> str:
        """Ask for the record of one identifier."""
        name = quote(f"{PREFIXES[reference.scheme]}:{reference.value}", safe=":/")
        return f"/graph/v1/paper/{name}?fields={FIELDS}"

    def read(self, page: Page, reference: Reference) -> Facts:
        """Read the record."""
        record = read_json(page, Record)
        if not record.title:
            raise malformed(page, "its record has no title")
        preprint = "arxiv" in (record.venue or "").lower()
        return Facts(
            source=self.name,
            title=record.title,
            authors=tuple(author.name for author in record.authors),
            year=record.year,
            mentions=(record.ids.arxiv, record.ids.doi, record.ids.anthology),
            **venue_facts(self.name, [] if preprint else [record.venue or ""]),
        )
