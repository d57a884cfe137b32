"""Whether the order of two methods in the papers' tables is that of our boards.

Judged is only what stands out of the noise, in the papers and here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from statistics import mean

from implementations.harness.results.boards import Board, Row
from implementations.harness.results.metric import metric
from tools.catalog.schema.paper import Claim
from tools.site.atlas import Atlas
from tools.site.claimed import share
from tools.site.claims import at_setting
from tools.site.metrics import explained

NOISE = 0.05
"""Up to this relative difference two values count as equal, in a paper's table and on a board."""


@dataclass(frozen=True)
class Told:
    """What one table of a paper says of a pair."""

    by: str
    """The entry that quotes the table."""
    claim: Claim
    gap: float
    """How far the first method is ahead, relative to the larger value; below 0 it is behind."""
    setting: str
    """What the values depend on: the paper's own method, or one that works on top of others."""


@dataclass(frozen=True)
class Here:
    """What one of our boards says of a pair, both with their defaults."""

    board: str
    gap: float
    """Of the means over seeds."""
    seeds: tuple[int, int]
    apart: bool
    """Whether every seed of one is ahead of every seed of the other."""
    collapsed: bool
    """Whether both lost the language, so that their order says nothing."""

    @property
    def clear(self) -> bool:
        """Whether the order can be told."""
        return abs(self.gap) > NOISE and self.apart and not self.collapsed


@dataclass(frozen=True)
class Order:
    """A pair at one share, as the papers tell it and as it was measured here."""

    other: str
    share: str
    told: tuple[Told, ...]
    here: Here | None

    @property
    def papers(self) -> str:
        """Where the papers see the first method: ahead, behind, close, or mixed."""
        gaps = [one.gap for one in self.told]
        wide = [gap for gap in gaps if abs(gap) > NOISE]
        if len({gap > 0 for gap in wide or gaps}) > 1:
            return "mixed"
        if not wide:
            return "close"
        return "ahead" if wide[0] > 0 else "behind"

    @property
    def verdict(self) -> str:
        """Say whether the order holds, or why that is not judged."""
        if self.here is None:
            return "not measured"
        if self.papers == "mixed":
            return "mixed"
        if self.papers == "close":
            return "too close in papers"
        # Here are the defaults, and a setting is free text.
        if all(one.setting for one in self.told if abs(one.gap) > NOISE):
            return "depends on the setting"
        if not self.here.clear:
            return "too close here"
        return "holds" if (self.here.gap > 0) == (self.papers == "ahead") else "does not hold"


def orders(slug: str, atlas: Atlas) -> list[Order]:
    """List the pairs that a paper's claims tell of, with what every paper's tables say of them."""
    own = atlas.papers[slug].claims or ()
    pairs = dict.fromkeys((other, share(claim)) for claim in own for other in claim.against or {})
    told = _told(slug, atlas)
    heads = {share(claim): claim for claim in own}
    return [
        Order(other, at, tuple(told[other, at]), _here(slug, other, heads[at], atlas))
        for other, at in pairs
    ]


def deviations(board: Board) -> list[float]:
    """List the relative deviations over seeds of what was run with several and did not collapse."""
    found = (row.ratio(board.metrics[0]) for row in board.rows if not row.collapsed)
    return sorted(one.deviation / one.mean for one in found if one and one.deviation is not None)


def _told(slug: str, atlas: Atlas) -> dict[tuple[str, str], list[Told]]:
    """Collect the tables that have a method and another one, by that one and the share."""
    found: dict[tuple[str, str], list[Told]] = defaultdict(list)
    # The paper's own tables first.
    for by in sorted(atlas.papers, key=lambda name: name != slug):
        for claim in atlas.papers[by].claims or ():
            values = {by: claim.value, **(claim.against or {})}
            lower = explained(claim.metric).lower_is_better
            for pair in combinations(values, 2):
                if slug in pair:
                    other = pair[pair[0] == slug]
                    free = by not in pair and not any(_on_top(one, atlas) for one in pair)
                    setting = "" if free else claim.setting or ""
                    told = Told(by, claim, _gap(values[slug], values[other], lower), setting)
                    known = found[other, share(claim)]
                    if not any(_same(one, told) for one in known):
                        known.append(told)
    return found


def _on_top(slug: str, atlas: Atlas) -> bool:
    return slug in atlas.papers and atlas.papers[slug].role == "plug-in"


def _same(one: Told, other: Told) -> bool:
    """Whether two entries quote the same pair of values, as papers copy them from each other."""
    where = [(told.claim.model, told.claim.metric, round(told.gap, 6)) for told in (one, other)]
    return where[0] == where[1]


def _here(slug: str, other: str, claim: Claim, atlas: Atlas) -> Here | None:
    for board in atlas.boards:
        rows = [next(_rows(board, name, claim), None) for name in (slug, other)]
        if rows[0] and rows[1]:
            return _compared(rows[0], rows[1], board)
    return None


def _rows(board: Board, slug: str, claim: Claim) -> Iterator[Row]:
    for row in board.rows:
        first = row.first
        plain = first.method == slug and not first.changed
        if plain and at_setting(claim, first.pattern, first.asked) and row.ratio(board.metrics[0]):
            yield row


def _compared(one: Row, other: Row, board: Board) -> Here:
    name = board.metrics[0]
    lower = metric(name).lower_is_better
    first, second = (
        [ratio for record in row.records if (ratio := record.ratio(name)) is not None]
        for row in (one, other)
    )
    return Here(
        board=board.title,
        gap=_gap(mean(first), mean(second), lower),
        seeds=(len(first), len(second)),
        apart=max(first) < min(second) or max(second) < min(first),
        collapsed=one.collapsed and other.collapsed,
    )


def _gap(value: float, other: float, lower: bool) -> float:
    """Return how far a value is ahead of another, relative to the larger of the two."""
    if value == other:
        return 0.0
    return (1 - min(value, other) / max(value, other)) * (1 if (value < other) == lower else -1)
