"""Replication: whether our measurements confirm the order of methods that papers report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tools.site.atlas import Atlas
from tools.site.render import Front, render
from tools.site.replication import NOISE, all_comparisons

FRONT = Front(
    "replication.md",
    "Does the order hold?",
    "Pairs of pruning methods whose order papers report, measured again under one protocol.",
    sources=("catalog/papers", "implementations"),
)


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the page."""
    pairs = all_comparisons(atlas)
    text = render(
        "replication",
        FRONT,
        atlas,
        measured=[one for one in pairs if one.measured],
        missing=[one for one in pairs if not one.measured],
        total=len(pairs),
        counts=Counter(one.verdict for one in pairs),
        noise=NOISE,
    )
    yield FRONT.path, text
