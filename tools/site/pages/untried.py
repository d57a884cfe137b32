"""Not tried: which combinations of granularity, criterion and repair no paper here has."""

from __future__ import annotations

from collections.abc import Iterator

from tools.site.atlas import Atlas
from tools.site.combinations import address, cells, complete, gaps, terms, tried
from tools.site.render import Front, render

STEPS = (1, 2, 4, 8)
"""From which counts on a cell is inked more strongly."""
FRONT = Front(
    "untried.md",
    "What has not been tried",
    "Granularity by criterion by repair: how many papers have each combination, and which none.",
    styles=("css/learn.css", "css/read.css"),
    sources=("catalog/papers", "catalog/vocabulary"),
    searched=False,
)


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the page."""
    papers = atlas.papers.values()
    counted = tried(papers)
    text = render(
        "untried",
        FRONT,
        atlas,
        counted=counted,
        every=sum(1 for _ in cells()),
        complete=complete(papers),
        gaps=gaps(papers),
        terms=terms,
        address=address,
        strength=strength,
    )
    yield FRONT.path, text


def strength(count: int) -> int:
    """Return how strongly a cell is inked: the steps that its count reaches."""
    return sum(count >= step for step in STEPS)
