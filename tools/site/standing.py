"""How some methods do on a board: what each lost at each setting, and its place among its kind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from implementations.harness.results.boards import Board
from tools.site.facts import loss, settings, shares


@dataclass(frozen=True)
class Place:
    """A loss, and where it stands among all methods of its family measured at the setting."""

    loss: float
    rank: int
    of: int
    collapsed: bool


@dataclass(frozen=True)
class Standing:
    """The settings at which one of some methods was measured, and the methods, the best first."""

    settings: tuple[str, ...]
    methods: Mapping[str, Mapping[str, Place]]


def standing(slugs: Collection[str], board: Board | None) -> Standing:
    """Compare some methods, with their defaults, with all others; who was not measured is last."""
    if board is None:
        return Standing((), {slug: {} for slug in slugs})
    measured = {key: row for key, row in settings(board).items() if loss(row, board) is not None}
    field: dict[tuple[str, str], list[float]] = defaultdict(list)
    for (_, at), row in measured.items():
        field[at, row.family].append(loss(row, board) or 0.0)
    found: dict[str, dict[str, Place]] = {slug: {} for slug in slugs}
    for (slug, at), row in measured.items():
        if slug in found:
            lost, others = loss(row, board) or 0.0, field[at, row.family]
            rank = 1 + sum(other < lost for other in others)
            found[slug][at] = Place(lost, rank, len(others), row.collapsed)
    columns = tuple(at for at in shares(board) if any(at in places for places in found.values()))
    return Standing(columns, dict(sorted(found.items(), key=lambda item: _order(item[1]))))


def _order(places: Mapping[str, Place]) -> tuple[bool, float]:
    """Order by how far in front a method is, on the mean of its settings."""
    ranks = [place.rank / place.of for place in places.values()]
    return not ranks, sum(ranks) / len(ranks) if ranks else 0.0
