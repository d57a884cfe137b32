"""DBLP: venues, pages and the addresses of papers, found by title."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from pydantic import BeforeValidator, Field

from tools.catalog.schema.vocabulary import fold
from tools.sources.client import Client
from tools.sources.facts import Facts
from tools.sources.hosts import Site
from tools.sources.named import Venue, named, venue
from tools.sources.page import JSON, Page
from tools.sources.plain import pages, tidy
from tools.sources.reading import Answer, read_json

SITE = Site("DBLP", "dblp.org", pause=2.0, also=frozenset({"dblp.uni-trier.de"}))


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


def search(title: str, client: Client) -> list[Facts]:
    """Return the records that hold all words of a title; raises `SourceError`."""

    def parse(page: Page) -> list[Facts]:
        return [tidy(_facts(hit.info)) for hit in read_json(page, Found).result.hits.hit]

    # Punctuation means operators to DBLP.
    words = " ".join(fold(title).replace(":", " ").split())
    query = urlencode({"q": words, "format": "json", "h": 10})
    return client.read(SITE, f"/search/publ/api?{query}", JSON, parse)


def _facts(info: Info) -> Facts:
    preprint = "CoRR" in info.venue
    where: Venue = venue("DBLP", [] if preprint else info.venue)
    found = named(info.doi, *info.ee)
    return Facts(
        source="DBLP",
        title=info.title.removesuffix("."),
        authors=tuple(person.text for person in info.authors.author),
        year=info.year,
        # CoRR's volume is the arXiv id.
        volume=None if preprint else info.volume,
        number=info.number,
        pages=pages(info.pages),
        ids=found.ids,
        links=found.links,
        **where,
    )
