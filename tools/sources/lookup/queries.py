"""Queries to the services: by reference and by title."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tools.catalog.schema.identifiers import SCHEMES
from tools.sources.client import Client, Page
from tools.sources.errors import AnotherPaper, NotFound
from tools.sources.lookup.identification import identify
from tools.sources.lookup.normalization import normalize
from tools.sources.names.references import Reference, Unidentified
from tools.sources.services.bibtex import read_entry
from tools.sources.services.facts import Facts
from tools.sources.services.registry import BY_SCHEME, SERVICES
from tools.sources.services.service import Find, Service


def fetch(reference: Reference, client: Client) -> Facts:
    """Return the facts from the source of a reference's scheme.

    Raises `SourceError`, and `Unidentified` for a title.
    """
    if reference.scheme not in BY_SCHEME:
        raise Unidentified(f"'{reference.value[:80]}' is a title; use a search instead")
    return ask(BY_SCHEME[reference.scheme], reference, client)


def ask(service: Service, reference: Reference, client: Client) -> Facts:
    """Return the facts of one service about a reference; raises `SourceError`."""

    def read(page: Page) -> Facts:
        facts = normalize(service.read(page, reference))
        answered = facts.ids.get(reference.scheme)
        if answered is None and reference.scheme in SCHEMES:
            answered = "another paper"
        if answered not in (None, reference.value):
            raise AnotherPaper(service.name, reference.value, answered)
        return facts

    path = service.path(reference)
    *first, last = service.sites
    for site in first:
        try:
            return client.read(site, path, read)
        except NotFound:
            continue
    return client.read(last, path, read)


def search(service: Service, title: str, client: Client) -> list[Facts]:
    """Return the search results of one service for a title; raises `SourceError`."""

    def read(page: Page) -> list[Facts]:
        return [normalize(facts) for facts in service.found(page)]

    return client.read(service.sites[0], service.query(title), read)


def services_for(purpose: Find) -> list[Service]:
    """Return the services that can be searched for a purpose."""
    return [service for service in SERVICES if purpose in service.finds]


def read_bibtex(text: str) -> Facts:
    """Return the facts of a BibTeX text, with the source `BibTeX`.

    Raises `Malformed` unless there is exactly one entry whose fields are valid in the catalog.
    """
    return normalize(read_entry(text, "BibTeX"))


def references(ids: Mapping[str, str], *pages: str | None) -> Iterator[Reference]:
    """Yield the identifiers (arXiv first) and pages that a source can look up."""
    for scheme in SCHEMES:
        if scheme in ids and scheme in BY_SCHEME:
            yield Reference(scheme, ids[scheme])
    for page in filter(None, pages):
        try:
            yield identify(page)
        except Unidentified:
            continue
