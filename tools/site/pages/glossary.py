"""The glossary: a definition of every word by which the catalog sorts papers."""

from __future__ import annotations

from collections.abc import Iterator

from tools.site.atlas import Atlas
from tools.site.glossary import LABELS, glossary
from tools.site.render import Front, render

FRONT = Front(
    "learn/glossary.md",
    "Glossary",
    "Definitions of the words by which the catalog sorts papers.",
    styles=("css/learn.css",),
    sources=("catalog/vocabulary",),
    toc=True,
    navigation=True,
)


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the page."""
    words = glossary(atlas.papers)
    yield FRONT.path, render("glossary", FRONT, atlas, words=words, labels=LABELS)
