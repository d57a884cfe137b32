"""Proceedings sites whose pages describe papers in `citation_...` tags."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, unquote

from tools.catalog.schema.identifiers import SCHEMES
from tools.sources.client import Page, Site
from tools.sources.errors import AnotherPaper
from tools.sources.names.references import Reference
from tools.sources.names.text import day, in_order, pages
from tools.sources.names.venues import venue_facts, year_in
from tools.sources.services.facts import Facts
from tools.sources.services.formats import read_tags
from tools.sources.services.service import Service


@dataclass(frozen=True, kw_only=True)
class Proceedings(Service):
    """One site, described by the addresses of its pages.

    If its scheme is not an identifier of the catalog, an entry stores the address instead.
    """

    sites: tuple[Site, ...]
    schemes: tuple[str, ...]
    hosts: str
    form: str
    """Pattern of the paths of pages and PDFs. The group `key` is part of the address of a paper's
    PDF; the groups `volume` and `year` take precedence over the tags."""
    value: str
    """Template of the identifier, with groups of the pattern in braces."""
    page: str
    """Template of the path of the page, with `{}` for the identifier."""

    registers_dois = True

    def from_page(self, url: SplitResult) -> Reference | None:
        """Parse the address of a page or PDF."""
        found = re.fullmatch(self.form, unquote(url.path))
        value = found and self.value.format(**found.groupdict(""))
        return Reference(self.schemes[0], value) if value else None

    def path(self, reference: Reference) -> str:
        """Request the page."""
        return quote(self.page.format(reference.value))

    def read(self, page: Page, reference: Reference) -> Facts:
        """Parse the tags; raise `AnotherPaper` if their PDF belongs to another paper."""
        tags = read_tags(page)
        found = re.fullmatch(self.form, self.page.format(reference.value))
        known = found.groupdict() if found else {}
        pdf = _first(tags, "pdf_url")
        if pdf and known.get("key", "") not in pdf:
            raise AnotherPaper(self.sites[0].host, self.path(reference), pdf)
        date = _first(tags, "publication_date") or _first(tags, "date") or ""
        names = [*tags.get("conference_title", ()), *tags.get("journal_title", ())]
        first, last = _first(tags, "firstpage") or _first(tags, "pages"), _first(tags, "lastpage")
        kept = reference.scheme in SCHEMES
        return Facts(
            source=self.name,
            title=tags["title"][0],
            authors=tuple(map(in_order, tags.get("author", ()))),
            abstract=_first(tags, "abstract"),
            published=day(*re.split(r"[/-]", date)),
            # The tags often date a conference in December to the next spring.
            year=int(known["year"]) if "year" in known else year_in(date),
            volume=known.get("volume") or _first(tags, "volume"),
            number=_first(tags, "issue"),
            pages=pages(first, last),
            ids={reference.scheme: reference.value} if kept else {},
            links={} if kept else {"venue": self.address(reference)},
            mentions=(_first(tags, "doi"),),
            **venue_facts(self.name, names),
        )


def _first(tags: Mapping[str, tuple[str, ...]], name: str) -> str | None:
    return next(iter(tags.get(name, ())), None)


PROCEEDINGS = (
    Proceedings(
        # ICML and many others; the PDFs of volumes since 2024 are in a repository.
        sites=(Site("PMLR", "proceedings.mlr.press"),),
        schemes=("pmlr",),
        hosts=r"proceedings\.mlr\.press|raw\.githubusercontent\.com",
        form=r"(?:/mlresearch)?/v(?P<volume>\d+)/(?:main/assets/)?(?P<key>[a-z0-9-]+)"
        r"(?:/(?P=key))?(?:\.html|\.pdf|/)?",
        value="v{volume}/{key}",
        page="/{}.html",
    ),
    Proceedings(
        sites=(Site("NeurIPS proceedings", "proceedings.neurips.cc"),),
        schemes=("neurips",),
        hosts=r"papers\.nips\.cc|proceedings\.neurips\.cc|papers\.neurips\.cc",
        form=r"/paper(?:_files/paper)?/(?P<year>\d{4})/(?:hash|file)/(?P<key>[0-9a-f]{32})"
        r"-(?:\w+?)(?P<track>-\w+)?\.\w+",
        value="{year}/hash/{key}-Abstract{track}.html",
        page="/paper_files/paper/{}",
    ),
    Proceedings(
        # CVPR, ICCV and WACV.
        sites=(Site("CVF open access", "openaccess.thecvf.com"),),
        schemes=("cvf",),
        hosts=r"openaccess\.thecvf\.com",
        form=r"/(?P<folder>content[\w/]*?)/(?:html|papers)/(?P<key>[\w.'-]+?)\.(?:html|pdf)",
        value="{folder}/html/{key}.html",
        page="/{}",
    ),
)
"""In order of precedence."""
