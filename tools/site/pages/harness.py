"""The harness: every name it exports, with the signature and words of its source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tools.site.atlas import Atlas
from tools.site.code import exported
from tools.site.pages import api
from tools.site.render import Front, render

FRONT = Front(
    "api/harness.md",
    "Harness",
    "Every name the harness exports.",
    styles=api.FRONT.styles,
    toc=True,
    searched=False,  # the overview has every name
    navigation=True,
)


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the page."""
    modules = exported(atlas.root)
    front = replace(FRONT, sources=tuple(module.path for module in modules))
    yield FRONT.path, render("harness", front, atlas, modules=modules)
