"""DBLP: venues, pages and identifiers of papers, found by title."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from pydantic import AliasPath, BeforeValidator, Field

from tools.catalog.schema.vocabulary import fold
from tools.sources.client import Page, Site
from tools.sources.names.text import pages
from tools.sources.names.venues import venue_facts
from tools.sources.services.facts import Facts
from tools.sources.services.formats import Answer, read_json
from tools.sources.services.service import Service


def _listed(value: Any) -> Any:
    """Return a list; DBLP's JSON has a list only for several values."""
    return value if isinstance(value, list) else [value]


class Person(Answer):
    """An author."""

    text: str


class Info(Answer):
    """A record."""

    title: str
    authors: Annotated[tuple[Person, ...], BeforeValidator(_listed)] = Field(
        (), validation_alias=AliasPath("authors", "author")
    )
    venue: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    year: int | None = None
    volume: str | None = None
    number: str | None = None
    pages: str | None = None
    doi: str | None = None
    ee: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()


class Hit(Answer):
    """One result of a search."""

    info: Info


class Envelope(Answer):
    """An answer of DBLP; `hit` is missing if there are no results."""

    hits: tuple[Hit, ...] = Field((), validation_alias=AliasPath("result", "hits", "hit"))


class Dblp(Service):
    """Searched by title; answers in JSON."""

    sites = (Site("DBLP", "dblp.org", pause=2.0),)
    finds = ("titles", "venues")

    def query(self, title: str) -> str:
        """Search for all words of a title, without punctuation, which DBLP reads as operators."""
        words = " ".join(fold(title).replace(":", " ").split())
        return f"/search/publ/api?{urlencode({'q': words, 'format': 'json', 'h': 10})}"

    def found(self, page: Page) -> list[Facts]:
        """Parse all hits."""
        return [self._facts(hit.info) for hit in read_json(page, Envelope).hits]

    def _facts(self, info: Info) -> Facts:
        preprint = "CoRR" in info.venue
        return Facts(
            source=self.name,
            title=info.title.removesuffix("."),
            authors=tuple(person.text for person in info.authors),
            year=info.year,
            # The volume of CoRR is the arXiv id.
            volume=None if preprint else info.volume,
            number=info.number,
            pages=pages(info.pages),
            mentions=(info.doi, *info.ee),
            **venue_facts(self.name, [] if preprint else info.venue),
        )
