"""Reading order: surveys, the papers that others build on, then the implemented methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tools.catalog.schema.paper import Paper
from tools.site.atlas import Atlas
from tools.site.citation_relations import CitingPapers, citing_papers
from tools.site.paper_facts import first_public, newest_first
from tools.site.render import Front, render

MIN_SUCCESSORS = 3
"""A paper is a foundation if this many papers build on it, directly or indirectly."""
FRONT = Front(
    "learn/reading-order.md",
    "Reading order",
    "Which papers on pruning to read first: surveys, foundations, then method by method.",
    styles=("css/learn.css",),
    sources=("catalog/papers", "docs/templates/pages/reading-order.md"),
    toc=True,
    navigation=True,
)


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the page."""
    text = render(
        "reading-order",
        FRONT,
        atlas,
        surveys=surveys(atlas.papers),
        foundations=foundations(atlas.papers),
        min_successors=MIN_SUCCESSORS,
    )
    yield FRONT.path, text


def surveys(papers: Mapping[str, Paper]) -> list[str]:
    """List the surveys, the newest first."""
    return newest_first((slug for slug, one in papers.items() if one.kind == "survey"), papers)


def foundations(papers: Mapping[str, Paper]) -> list[tuple[str, CitingPapers]]:
    """List the papers that most others build on, the oldest first."""
    citing = citing_papers(papers)
    found = [
        slug
        for slug, one in citing.items()
        if one.successors >= MIN_SUCCESSORS and papers[slug].has_paper
    ]
    return [(slug, citing[slug]) for slug in sorted(found, key=lambda s: first_public(papers[s]))]
