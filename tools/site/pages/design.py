"""Design notes: why the atlas is built as it is."""

from __future__ import annotations

from collections.abc import Iterator

from tools.site.atlas import Atlas
from tools.site.render import Front, render

FRONT = Front(
    "design.md",
    "Design notes",
    "Why the atlas is built as it is: rooms, methods, records, boards, seeds, tests.",
    styles=("css/learn.css",),
    sources=("docs/templates/pages/design.md",),
    toc=True,
    navigation=True,
)


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the page."""
    yield FRONT.path, render("design", FRONT, atlas)
