"""CVF open access: the papers of CVPR, ICCV and WACV."""

from __future__ import annotations

from urllib.parse import quote

from tools.sources.lookup.identification import Reference
from tools.sources.lookup.normalization import page
from tools.sources.services.facts import Facts
from tools.sources.services.proceedings import fetch_tags
from tools.sources.web.client import Client
from tools.sources.web.hosts import Site

SITE = Site("CVF open access", "openaccess.thecvf.com")


def fetch(reference: Reference, client: Client) -> Facts:
    """Return what the page of a paper says; raises `SourceError`."""
    key = reference.value.rpartition("/")[2].removesuffix(".html")
    return fetch_tags(
        SITE, f"/{quote(reference.value)}", key, client, {}, {"venue": page(reference)}
    )
