"""Semantic Scholar: asked only where nobody else knows, for its venues are often wrong."""

from __future__ import annotations

from urllib.parse import quote

from pydantic import Field

from tools.sources.lookup.identification import Reference
from tools.sources.lookup.normalization import named, venue
from tools.sources.names.text import tidy
from tools.sources.services.facts import Facts
from tools.sources.services.formats import Answer, malformed, read_json
from tools.sources.web.client import Client
from tools.sources.web.errors import LATER, AnotherPaper
from tools.sources.web.hosts import Site
from tools.sources.web.page import JSON, Page

SITE = Site("Semantic Scholar", "api.semanticscholar.org")
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


def fetch(reference: Reference, client: Client) -> Facts:
    """Return what Semantic Scholar has under an identifier; raises `SourceError`."""

    def parse(page: Page) -> Facts:
        record = read_json(page, Record)
        if not record.title:
            raise malformed(page, "its record has no title")
        found = named(record.ids.arxiv, record.ids.doi, record.ids.anthology)
        if found.ids.get(reference.scheme, reference.value) != reference.value:
            raise AnotherPaper(
                f"Semantic Scholar was asked for {reference} and answered about "
                f"{found.ids[reference.scheme]}",
                LATER,
            )
        preprint = "arxiv" in (record.venue or "").lower()
        return tidy(
            Facts(
                source="Semantic Scholar",
                title=record.title,
                authors=tuple(author.name for author in record.authors),
                year=record.year,
                ids=found.ids,
                links=found.links,
                **venue("Semantic Scholar", [] if preprint else [record.venue or ""]),
            )
        )

    name = f"{PREFIXES[reference.scheme]}:{reference.value}"
    path = f"/graph/v1/paper/{quote(name, safe=':/')}?fields={FIELDS}"
    return client.read(SITE, path, JSON, parse)
