"""The services, asked: for the paper of a reference, or for papers with a title."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tools.catalog.schema.identifiers import SCHEMES
from tools.sources.lookup.identification import identify
from tools.sources.lookup.normalization import normalize
from tools.sources.names.references import Reference, Unidentified
from tools.sources.services.bibtex import read_entry
from tools.sources.services.facts import Facts
from tools.sources.services.service import Find, Service
from tools.sources.services.table import BY_SCHEME, SERVICES
from tools.sources.web.client import Client
from tools.sources.web.errors import AnotherPaper, NotFound
from tools.sources.web.page import Page


def fetch(reference: Reference, client: Client) -> Facts:
    """Return what the source of a reference's scheme says; raises `SourceError`.

    Raises `Unidentified` for a title, which no one source answers for.
    """
    if reference.scheme not in BY_SCHEME:
        raise Unidentified(f"'{reference.value[:80]}' is a title, which has to be searched for")
    return ask(BY_SCHEME[reference.scheme], reference, client)


def ask(service: Service, reference: Reference, client: Client) -> Facts:
    """Return what one service says of a reference in one of its schemes; raises `SourceError`."""

    def read(page: Page) -> Facts:
        facts = normalize(service.read(page, reference))
        answered = facts.ids.get(reference.scheme)
        if answered is None and reference.scheme in SCHEMES:
            answered = "something else"
        if answered not in (None, reference.value):
            raise AnotherPaper(service.name, reference.value, answered)
        return facts

    path = service.path(reference)
    *first, last = service.sites
    for site in first:
        try:
            return client.read(site, path, service.kind, read, service.statuses)
        except NotFound:
            continue
    return client.read(last, path, service.kind, read, service.statuses)


def search(service: Service, title: str, client: Client) -> list[Facts]:
    """Return the papers that one service finds for a title; raises `SourceError`."""

    def read(page: Page) -> list[Facts]:
        return [normalize(facts) for facts in service.found(page)]

    query = service.query(title)
    return client.read(service.sites[0], query, service.kind, read, service.statuses)


def finding(what: Find) -> list[Service]:
    """Return the services to search for one thing."""
    return [service for service in SERVICES if what in service.finds]


def read_bibtex(text: str) -> Facts:
    """Return what the one entry of a BibTeX text says, named `BibTeX` as its source.

    Raises `Malformed` where there is not exactly one entry, or where a field of it holds what no
    entry of the catalog may hold.
    """
    return normalize(read_entry(text, "BibTeX"))


def references(ids: Mapping[str, str], *pages: str | None) -> Iterator[Reference]:
    """Yield what a source answers for among identifiers by scheme, arXiv first, and pages."""
    for scheme in SCHEMES:
        if scheme in ids and scheme in BY_SCHEME:
            yield Reference(scheme, ids[scheme])
    for page in filter(None, pages):
        try:
            yield identify(page)
        except Unidentified:
            continue
