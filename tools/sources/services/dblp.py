"""DBLP: venues, pages and the addresses of papers, found by title."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from pydantic import BeforeValidator, Field

from tools.catalog.schema.vocabulary import fold
from tools.sources.names.text import pages
from tools.sources.names.venues import venue_facts
from tools.sources.services.facts import Facts
from tools.sources.services.formats import Answer, read_json
from tools.sources.services.service import Service
from tools.sources.web.hosts import Site
from tools.sources.web.page import JSON, Page


def _listed(value: Any) -> Any:
    """What there is once is no list in DBLP's JSON."""
    return value if isinstance(value, list) else [value]


class Person(Answer):
    """An author."""

    text: str


class People(Answer):
    """The authors of a record."""

    author: Annotated[tuple[Person, ...], BeforeValidator(_listed)] = ()


class Info(Answer):
    """A record."""

    title: str
    authors: People = People()
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


class Hits(Answer):
    """The results; there is no `hit` where there are none."""

    hit: tuple[Hit, ...] = ()


class Result(Answer):
    """What was found."""

    hits: Hits = Hits()


class Found(Answer):
    """An answer of DBLP."""

    result: Result = Field(Result())


class Dblp(Service):
    """Answers in JSON, to searches alone."""

    sites = (Site("DBLP", "dblp.org", pause=2.0, also=frozenset({"dblp.uni-trier.de"})),)
    kind = JSON
    finds = ("titles", "venues")

    def query(self, title: str) -> str:
        """Ask for all words of a title; punctuation means operators to DBLP."""
        words = " ".join(fold(title).replace(":", " ").split())
        return f"/search/publ/api?{urlencode({'q': words, 'format': 'json', 'h': 10})}"

    def found(self, page: Page) -> list[Facts]:
        """Read all hits."""
        return [self._facts(hit.info) for hit in read_json(page, Found).result.hits.hit]

    def _facts(self, info: Info) -> Facts:
        preprint = "CoRR" in info.venue
        return Facts(
            source=self.name,
            title=info.title.removesuffix("."),
            authors=tuple(person.text for person in info.authors.author),
            year=info.year,
            # CoRR's volume is the arXiv id.
            volume=None if preprint else info.volume,
            number=info.number,
            pages=pages(info.pages),
            mentions=(info.doi, *info.ee),
            **venue_facts(self.name, [] if preprint else info.venue),
        )
