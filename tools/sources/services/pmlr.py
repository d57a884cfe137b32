"""PMLR: the proceedings of ICML and of many others."""

from __future__ import annotations

from dataclasses import replace

from tools.sources.lookup.identification import Reference
from tools.sources.services.facts import Facts
from tools.sources.services.proceedings import fetch_tags
from tools.sources.web.client import Client
from tools.sources.web.hosts import Site

SITE = Site("PMLR", "proceedings.mlr.press")


def fetch(reference: Reference, client: Client) -> Facts:
    """Return what the page of a paper says; raises `SourceError`."""
    volume, _, key = reference.value.partition("/")
    path = f"/{reference.value}.html"
    facts = fetch_tags(SITE, path, key, client, {"pmlr": reference.value}, {})
    return replace(facts, volume=volume.removeprefix("v"))
