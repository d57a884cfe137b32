"""The pages of the site: one module per kind, whose function `pages` yields paths and texts.

To add a page, write a module with front matter in `FRONT` (or `FRONTS`) and add its name to `MENU`.
"""

from __future__ import annotations

from importlib import import_module

from tools.site.atlas import Atlas
from tools.site.data_files import FILES
from tools.site.render import Front, fill

# In the order of the menu.
MENU = (
    "home",
    "catalog",
    "leaderboard",
    "replication",
    "claims",
    "choose",
    "use",
    "learn",
    "tutorials",
    "reading_order",
    "how_we_measure",
    "glossary",
    "api",
    "contribute",
)
OTHERS = ("data", "paper", "redirects")
KINDS = {name: import_module(f"{__name__}.{name}") for name in (*MENU, *OTHERS)}


def fronts() -> list[Front]:
    """List the front matter of the pages of the menu, in its order."""
    modules = (KINDS[name] for name in MENU)
    return [one for module in modules for one in getattr(module, "FRONTS", None) or [module.FRONT]]


def make(atlas: Atlas) -> dict[str, str]:
    """Return the contents of every page and data file, by path below the docs folder."""
    files = {path: text for kind in KINDS.values() for path, text in kind.pages(atlas)}
    return files | {"llms.txt": llms(atlas), "robots.txt": robots(atlas)}


def llms(atlas: Atlas) -> str:
    """Write an overview for language models: pages of the menu, data files and papers."""
    return fill("llms.txt", atlas=atlas, menu=fronts(), files=FILES)


def robots(atlas: Atlas) -> str:
    """Allow crawlers everything; name the site map if the site's address is known."""
    where = f"Sitemap: {atlas.address('sitemap.xml')}\n" if atlas.site else ""
    return f"User-agent: *\nAllow: /\n{where}"
