"""Where sources live, and where to find them instead."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tools.sources.web.errors import BadSetting

VARIABLE = "ATLAS_SOURCES"
"""Environment variable with other addresses for hosts, meant for tests and mirrors:
`export.arxiv.org=http://127.0.0.1:8080/arxiv,dblp.org=https://mirror.example/dblp`."""


@dataclass(frozen=True)
class Site:
    """A source as the client sees it."""

    name: str
    host: str
    pause: float = 1.0
    """Seconds between two requests."""
    also: frozenset[str] = frozenset()
    """Further hosts of the same source, to which a redirect may lead."""


def read_hosts(text: str) -> dict[str, str]:
    """Read the value of `ATLAS_SOURCES`; raises `BadSetting` where it is not `host=url,...`."""
    hosts = {}
    for item in filter(None, (item.strip() for item in text.split(","))):
        host, _, base = item.partition("=")
        if not re.fullmatch(r"[a-z0-9.-]+", host) or not re.match(r"https?://[^/]", base):
            raise BadSetting(
                f"{VARIABLE} holds '{item[:80]}'", "write it as host=https://mirror/path"
            )
        hosts[host] = base
    return hosts
