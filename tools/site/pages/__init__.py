"""The pages of the site, a module for each kind; a module's `pages` yields paths and texts.

A new page is a module with a `FRONT`, which says what it is called and where it stands, and its
name in `MENU`.
"""

from __future__ import annotations

from importlib import import_module

from tools.site.atlas import Atlas
from tools.site.discovery import llms, robots
from tools.site.render import Front

# In the order of the menu.
MENU = (
    "home",
    "catalog",
    "leaderboard",
    "claims",
    "replication",
    "choose",
    "use",
    "learn",
    "reading_order",
    "how_we_measure",
    "glossary",
    "api",
    "contribute",
)
OTHERS = ("data", "feed", "paper", "redirects")
KINDS = {name: import_module(f"{__name__}.{name}") for name in (*MENU, *OTHERS)}


def fronts() -> list[Front]:
    """List what is said about the pages of the menu, in its order."""
    return [KINDS[name].FRONT for name in MENU]


def make(atlas: Atlas) -> dict[str, str]:
    """Make every page and data file: contents by path below the docs folder."""
    made = {path: text for kind in KINDS.values() for path, text in kind.pages(atlas)}
    return made | {"llms.txt": llms(atlas, fronts()), "robots.txt": robots(atlas)}
