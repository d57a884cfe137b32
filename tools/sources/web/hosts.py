"""Sites of the sources and their mirrors."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tools.sources.web.errors import BadSetting

VARIABLE = "ATLAS_SOURCES"
"""Environment variable with the addresses of mirrors, also used in tests:
`export.arxiv.org=http://127.0.0.1:8080/arxiv,dblp.org=https://mirror.example/dblp`."""


@dataclass(frozen=True)
class Site:
    """The host of a source."""

    name: str
    host: str
    pause: float = 1.0
    """Seconds between two requests."""
    also: frozenset[str] = frozenset()
    """Other hosts of the source, to which redirects are allowed."""


def read_hosts(text: str) -> dict[str, str]:
    """Parse the value of `ATLAS_SOURCES`; raises `BadSetting` if it is not `host=url,...`."""
    hosts = {}
    for item in filter(None, (item.strip() for item in text.split(","))):
        host, _, base = item.partition("=")
        if not re.fullmatch(r"[a-z0-9.-]+", host) or not re.match(r"https?://[^/]", base):
            raise BadSetting(
                f"{VARIABLE} has the invalid item '{item[:80]}'",
                "use the form host=https://mirror/path",
            )
        hosts[host] = base
    return hosts
