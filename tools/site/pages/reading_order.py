"""Start here: what to read first, from what the entries say of each other, then by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tools.catalog.schema.paper import Paper
from tools.site.atlas import Atlas
from tools.site.facts import first_public
from tools.site.following import Followers, followers
from tools.site.reading_order import ORDER
from tools.site.render import Front, render
from tools.site.words import month

LEAST = 3
"""So many papers build on one that it is to be read before the others."""
FRONT = Front(
    "learn/reading-order.md",
    "Reading order",
    "Which papers on pruning to read first and why: surveys, then what the others build on.",
    styles=("css/learn.css", "css/read.css"),
    sources=("catalog/papers", "tools/site/reading_order.py"),
    toc=True,
    navigation=True,
)


@dataclass(frozen=True)
class Step:
    """One paper of the order and why it stands there."""

    slug: str
    why: str
    followers: Followers


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the page."""
    ground = foundations(atlas.papers)
    text = render(
        "reading-order",
        FRONT,
        atlas,
        surveys=surveys(atlas.papers),
        ground=ground,
        most=max((step.followers.count for step in ground), default=1),
        least=LEAST,
        reading=reading(atlas),
        first_public=first_public,
    )
    yield FRONT.path, text


def surveys(papers: Mapping[str, Paper]) -> list[Step]:
    """List the surveys, the newest first."""
    found = [slug for slug, paper in papers.items() if paper.kind == "survey"]
    found.sort(key=lambda slug: first_public(papers[slug]), reverse=True)
    return [
        Step(slug, f"A review of the field as of {month(papers[slug])}.", Followers())
        for slug in found
    ]


def foundations(papers: Mapping[str, Paper]) -> list[Step]:
    """List the papers that most others build on, in order of time: none before its own ground.

    Directly or through others: who reads Wanda has Optimal Brain Surgeon to thank as well.
    """
    counted = followers(papers)
    found = [slug for slug, one in counted.items() if one.count >= LEAST and papers[slug].has_paper]
    found.sort(key=lambda slug: first_public(papers[slug]))
    return [Step(slug, str(counted[slug]), counted[slug]) for slug in found]


def reading(atlas: Atlas) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the order chosen by hand, as far as its papers are in the catalog."""
    found = [(title, [one for one in papers if one[0] in atlas.papers]) for title, papers in ORDER]
    return [(title, papers) for title, papers in found if papers]
