"""CVF open access: the papers of CVPR, ICCV and WACV."""

from __future__ import annotations

from urllib.parse import quote

from tools.sources.client import Client
from tools.sources.facts import Facts
from tools.sources.hosts import Site
from tools.sources.identify import Reference
from tools.sources.named import page
from tools.sources.tags import fetch_tags

SITE = Site("CVF open access", "openaccess.thecvf.com")


def fetch(reference: Reference, client: Client) -> Facts:
    """Return what the page of a paper says; raises `SourceError`."""
    key = reference.value.rpartition("/")[2].removesuffix(".html")
    return fetch_tags(
        SITE, f"/{quote(reference.value)}", key, client, {}, {"venue": page(reference)}
    )
