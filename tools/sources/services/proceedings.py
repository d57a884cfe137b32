"""Landing pages of proceedings, which carry their record in `citation_...` tags."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tools.sources.lookup.normalization import named, venue
from tools.sources.names.text import day, in_order, pages, tidy
from tools.sources.names.venues import year_in
from tools.sources.services.facts import Facts
from tools.sources.services.formats import read_tags
from tools.sources.web.client import Client
from tools.sources.web.errors import CHECK, AnotherPaper
from tools.sources.web.hosts import Site
from tools.sources.web.page import HTML, Page


def fetch_tags(
    site: Site,
    path: str,
    key: str,
    client: Client,
    ids: Mapping[str, str],
    links: Mapping[str, str],
) -> Facts:
    """Return what the tags of a page say; raises `SourceError`.

    `key` is what the address of the paper's PDF must hold: otherwise it is another paper.
    """

    def parse(page: Page) -> Facts:
        tags = read_tags(page)
        pdf = _first(tags, "pdf_url") or key
        if key not in pdf:
            raise AnotherPaper(
                f"{site.host} was asked for {path} and answered about {pdf[:120]}", CHECK
            )
        return tidy(_facts(site.name, tags, ids, links))

    return client.read(site, path, HTML, parse)


def _facts(
    source: str,
    tags: Mapping[str, tuple[str, ...]],
    ids: Mapping[str, str],
    links: Mapping[str, str],
) -> Facts:
    date = _first(tags, "publication_date") or _first(tags, "date") or ""
    names = [*tags.get("conference_title", ()), *tags.get("journal_title", ())]
    return Facts(
        source=source,
        title=tags["title"][0],
        authors=tuple(map(in_order, tags.get("author", ()))),
        abstract=_first(tags, "abstract"),
        published=day(*re.split(r"[/-]", date)),
        year=year_in(date),
        volume=_first(tags, "volume"),
        number=_first(tags, "issue"),
        pages=pages(_first(tags, "firstpage") or _first(tags, "pages"), _first(tags, "lastpage")),
        ids={**named(_first(tags, "doi")).ids, **ids},
        links=links,
        **venue(source, names),
    )


def _first(tags: Mapping[str, tuple[str, ...]], name: str) -> str | None:
    return next(iter(tags.get(name, ())), None)
