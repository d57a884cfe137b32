"""The pages of the site, a module for each kind; a module's `pages` yields paths and texts."""

from __future__ import annotations

from pathlib import Path

from tools.site.atlas import Atlas
from tools.site.pages import (
    api,
    catalog,
    choose,
    compare,
    contribute,
    data,
    design,
    discovery,
    home,
    leaderboard,
    learn,
    lineage,
    measure,
    news,
    paper,
    records,
    redirects,
)

KINDS = (
    home,
    catalog,
    choose,
    compare,
    paper,
    leaderboard,
    records,
    lineage,
    data,
    api,
    contribute,
    design,
    discovery,
    learn,
    measure,
    news,
    redirects,
)


def make(atlas: Atlas) -> dict[str, str]:
    """Make every page and data file: contents by path below the docs folder."""
    return {path: text for kind in KINDS for path, text in kind.pages(atlas)}


def write(atlas: Atlas, folder: Path) -> None:
    """Write every page and data file below `folder`, making it where it is missing."""
    for path, text in make(atlas).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
