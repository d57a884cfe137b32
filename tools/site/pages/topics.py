"""Topics: what is studied about pruning, and what the studies look at."""

from __future__ import annotations

from collections.abc import Iterator

from tools.site.atlas import Atlas
from tools.site.facts import words_of
from tools.site.glossary import glossary
from tools.site.render import Front, render
from tools.site.studied import STUDIES, looked_at, newest

FRONT = Front(
    "topics.md",
    "Topics",
    "What is studied about pruning: calibration text, safety, reasoning, evaluation and more.",
    styles=("css/learn.css", "css/read.css"),
    sources=("catalog/papers", "catalog/vocabulary/topic.yaml"),
)


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the overview; the page of each topic is that of its word."""
    studies = [slug for slug, paper in atlas.papers.items() if paper.kind in STUDIES]
    other = [slug for slug in studies if not words_of(atlas.papers[slug], "topic")]
    text = render(
        "topics",
        FRONT,
        atlas,
        topics=glossary(atlas.papers)["topic"],
        studied=looked_at(studies, atlas.papers),
        studies=studies,
        others=newest(other, atlas.papers),
    )
    yield FRONT.path, text
