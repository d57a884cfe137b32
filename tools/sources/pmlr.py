"""PMLR: the proceedings of ICML and of many others."""

from __future__ import annotations

from dataclasses import replace

from tools.sources.client import Client
from tools.sources.facts import Facts
from tools.sources.hosts import Site
from tools.sources.identify import Reference
from tools.sources.tags import fetch_tags

SITE = Site("PMLR", "proceedings.mlr.press")


def fetch(reference: Reference, client: Client) -> Facts:
    """Return what the page of a paper says; raises `SourceError`."""
    volume, _, key = reference.value.partition("/")
    path = f"/{reference.value}.html"
    facts = fetch_tags(SITE, path, key, client, {"pmlr": reference.value}, {})
    return replace(facts, volume=volume.removeprefix("v"))
