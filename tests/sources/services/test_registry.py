"""The registry of sources."""

from __future__ import annotations

import pytest

from tests.sources.replay import Answer, Replay, index
from tools.catalog.schema.identifiers import SCHEMES, page
from tools.discovery.listings import GITHUB
from tools.sources.client import Client, Site
from tools.sources.lookup.identification import identify
from tools.sources.lookup.queries import ask
from tools.sources.names.references import Reference
from tools.sources.services.proceedings import Proceedings
from tools.sources.services.registry import BY_NAME, BY_SCHEME, SERVICES

PAGES = {
    "neurips": "2023/hash/44956951349095f74492a5471128a7e0-Abstract-Conference.html",
    "cvf": "content/CVPR2023/html/Li_What's_New_paper.html",
}


def test_names_are_unique_and_hosts_are_replayed() -> None:
    assert len(BY_NAME) == len(SERVICES)
    hosts = {site.host for service in SERVICES for site in service.sites}
    assert hosts | {GITHUB.host} == set(index())


def test_every_scheme_except_ieee_has_a_source() -> None:
    assert set(SCHEMES) - set(BY_SCHEME) == {"ieee"}


@pytest.mark.parametrize("scheme", [scheme for scheme in SCHEMES if scheme in BY_SCHEME])
def test_identifies_pages_of_identifiers(scheme: str) -> None:
    example = SCHEMES[scheme].example
    assert identify(page(scheme, example)) == Reference(scheme, example)


@pytest.mark.parametrize("scheme", PAGES)
def test_identifies_addresses_of_pages(scheme: str) -> None:
    reference = Reference(scheme, PAGES[scheme])
    assert identify(BY_SCHEME[scheme].address(reference)) == reference


def test_new_proceedings_site_needs_only_a_row(replay: Replay, client: Client) -> None:
    site = Proceedings(
        sites=(Site("Invented", "proceedings.mlr.press"),),
        schemes=("invented",),
        hosts=r"papers\.example",
        form=r"/(?P<year>\d{4})/(?P<key>\w+)\.(?:html|pdf)",
        value="{year}/{key}",
        page="/{}.html",
    )
    tags = b"<meta name=citation_title content=T><meta name=citation_pdf_url content=/2024/a1.pdf>"
    replay.say("proceedings.mlr.press", Answer(tags))
    facts = ask(site, Reference("invented", "2024/a1"), client)
    assert (facts.source, facts.title, facts.year) == ("Invented", "T", 2024)
    assert facts.links == {"venue": "https://proceedings.mlr.press/2024/a1.html"}
