"""The proceedings of NeurIPS."""

from __future__ import annotations

from dataclasses import replace

from tools.sources.lookup.identification import Reference
from tools.sources.lookup.normalization import page
from tools.sources.services.facts import Facts
from tools.sources.services.proceedings import fetch_tags
from tools.sources.web.client import Client
from tools.sources.web.hosts import Site

SITE = Site(
    "NeurIPS proceedings",
    "proceedings.neurips.cc",
    also=frozenset({"papers.nips.cc", "papers.neurips.cc"}),
)


def fetch(reference: Reference, client: Client) -> Facts:
    """Return what the page of a paper says; raises `SourceError`."""
    year, _, name = reference.value.split("/")
    path = f"/paper_files/paper/{reference.value}"
    facts = fetch_tags(SITE, path, name[:32], client, {}, {"venue": page(reference)})
    # The volume of a December is often dated to the next spring.
    return replace(facts, year=int(year))
