"""Replication: whether our measurements confirm the order of methods that papers report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tools.site.atlas import Atlas
from tools.site.render import Front, render
from tools.site.replication import NOISE, OUTCOMES, Comparison, Tally, all_comparisons

FRONT = Front(
    "replication.md",
    "Does the order hold?",
    "Pairs of pruning methods whose order papers report, measured again under one protocol.",
    styles=("css/controls.css", "css/replication.css"),
    scripts=("js/filters.js",),
    sources=("catalog/papers", "implementations"),
)


@dataclass(frozen=True)
class PaperOrders:
    """The orders in the tables of one paper."""

    paper: str
    pairs: tuple[Comparison, ...]
    """The pairs of which we measured both methods, by outcome."""
    tally: Tally


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the page."""
    pairs = all_comparisons(atlas)
    measured = [one for one in pairs if one.measured]
    missing = [one for one in pairs if not one.measured]
    papers = list(orders_by_paper(pairs, atlas))
    text = render(
        "replication",
        FRONT,
        atlas,
        measured=measured,
        missing=missing,
        boards=list(dict.fromkeys(one.measured.board for one in measured if one.measured)),
        tally=Tally.of(pairs),
        total=len(pairs),
        reasons=Counter(one.verdict for one in pairs if one.outcome == "cannot be judged"),
        papers=[one for one in papers if one.pairs],
        others=sum(not one.pairs for one in papers),
        methods=_methods(pairs, atlas),
        outcomes=[outcome for outcome in OUTCOMES if any(one.outcome == outcome for one in pairs)],
        noise=NOISE,
    )
    yield FRONT.path, text


def orders_by_paper(pairs: Iterable[Comparison], atlas: Atlas) -> Iterator[PaperOrders]:
    """Yield the orders of each paper, those of which we measured most first.

    A pair that can be judged is judged again by the tables of the paper alone, which may have the
    two methods too close.
    """
    by_paper: dict[str, list[Comparison]] = {}
    for pair in pairs:
        judged = pair.outcome != "cannot be judged"
        for paper in dict.fromkeys(one.paper for one in pair.reported if one.paper):
            own = pair.reported_by(paper) if judged else pair
            by_paper.setdefault(paper, []).append(own)
    tallies = {paper: Tally.of(own) for paper, own in by_paper.items()}
    for paper in sorted(
        by_paper, key=lambda paper: (-tallies[paper].measured, atlas.names[paper].casefold())
    ):
        measured = [one for one in by_paper[paper] if one.measured]
        measured.sort(key=lambda one: OUTCOMES.index(one.outcome))
        yield PaperOrders(paper, tuple(measured), tallies[paper])


def _methods(pairs: Iterable[Comparison], atlas: Atlas) -> list[tuple[str, str]]:
    slugs = {slug for one in pairs for slug in (one.method, one.other)}
    names = ((slug, atlas.names.get(slug, slug)) for slug in slugs)
    return sorted(names, key=lambda item: item[1].casefold())
