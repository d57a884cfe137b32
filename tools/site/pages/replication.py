"""Replication: whether our measurements confirm the order of methods that papers report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tools.site.atlas import Atlas
from tools.site.render import Front, render
from tools.site.replication import (
    NOISE,
    OUTCOMES,
    Comparison,
    Tally,
    all_comparisons,
    comparisons,
)

FRONT = Front(
    "replication.md",
    "Does the order hold?",
    "Pairs of pruning methods whose order papers report, measured again under one protocol.",
    styles=("css/controls.css", "css/replication.css"),
    scripts=("js/filters.js",),
    sources=("catalog/papers", "implementations"),
)


@dataclass(frozen=True)
class MethodOrders:
    """The pairs with one method, the same as on its page."""

    method: str
    pairs: tuple[Comparison, ...]
    """The pairs of which we measured both methods, by outcome; this method is the first."""
    tally: Tally


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the page."""
    pairs = all_comparisons(atlas)
    measured = [one for one in pairs if one.measured]
    missing = [one for one in pairs if not one.measured]
    methods = _methods(pairs, atlas)
    by_method = orders_by_method(pairs, atlas)
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
        by_method=by_method,
        others=len(methods) - len(by_method),
        methods=methods,
        outcomes=[outcome for outcome in OUTCOMES if any(one.outcome == outcome for one in pairs)],
        noise=NOISE,
    )
    yield FRONT.path, text


def orders_by_method(pairs: Sequence[Comparison], atlas: Atlas) -> list[MethodOrders]:
    """List the methods with measured pairs, those with most of them first."""
    found = []
    for slug, _ in _methods(pairs, atlas):
        own = comparisons(slug, pairs)
        measured = [one for one in own if one.measured]
        if measured:
            measured.sort(key=lambda one: OUTCOMES.index(one.outcome))
            found.append(MethodOrders(slug, tuple(measured), Tally.of(own)))
    return sorted(found, key=lambda one: -one.tally.measured)


def _methods(pairs: Iterable[Comparison], atlas: Atlas) -> list[tuple[str, str]]:
    slugs = {slug for one in pairs for slug in (one.method, one.other)}
    names = ((slug, atlas.names.get(slug, slug)) for slug in slugs)
    return sorted(names, key=lambda item: item[1].casefold())
