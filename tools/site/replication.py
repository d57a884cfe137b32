"""Whether our measurements confirm the order of two methods that papers report.

An order is judged only where the difference exceeds the noise, in the papers and here.
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
from tools.site.claim_status import same_setting
from tools.site.claim_tables import claim_removed
from tools.site.metrics import explained

NOISE = 0.05
"""Values up to this relative difference count as equal, in a paper and on a board."""
VERDICTS = (
    "does not hold",
    "holds",
    "too close here",
    "papers disagree",
    "depends on the setting",
    "too close in papers",
    "not measured",
)


@dataclass(frozen=True)
class Reported:
    """What one table of a paper says about a pair of methods."""

    paper: str
    """The entry that has the table."""
    claim: Claim
    lead: float
    """Relative lead of the first method; negative if it is behind."""
    setting: str
    """What the values depend on, if a method of the pair works on top of other methods."""


@dataclass(frozen=True)
class Measured:
    """What one of our boards says about a pair of methods, both with their defaults."""

    board: str
    lead: float
    """Relative lead of the first method, from the means over seeds."""
    seeds: tuple[int, int]
    separated: bool
    """Whether every seed of one is better than every seed of the other."""
    collapsed: bool
    """Whether both models collapsed, so that their order means nothing."""

    @property
    def clear(self) -> bool:
        """Whether the difference exceeds the noise."""
        return abs(self.lead) > NOISE and self.separated and not self.collapsed


@dataclass(frozen=True)
class Comparison:
    """Two methods at one sparsity or pattern, in the papers and here."""

    method: str
    other: str
    removed: str
    """Such as `50 %` or `2:4`; empty if the papers do not say."""
    reported: tuple[Reported, ...]
    measured: Measured | None

    @property
    def order(self) -> str:
        """The order in the papers: the first method is `ahead`, `behind`, `close` or `mixed`."""
        leads = [one.lead for one in self.reported]
        clear = [lead for lead in leads if abs(lead) > NOISE]
        if len({lead > 0 for lead in clear or leads}) > 1:
            return "mixed"
        if not clear:
            return "close"
        return "ahead" if clear[0] > 0 else "behind"

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`."""
        if self.measured is None:
            return "not measured"
        if self.order == "mixed":
            return "papers disagree"
        if self.order == "close":
            return "too close in papers"
        # Our runs use the defaults, and a setting is free text.
        if all(one.setting for one in self.reported if abs(one.lead) > NOISE):
            return "depends on the setting"
        if not self.measured.clear:
            return "too close here"
        return "holds" if (self.measured.lead > 0) == (self.order == "ahead") else "does not hold"


def comparisons(slug: str, atlas: Atlas) -> list[Comparison]:
    """List the pairs in a paper's claims, each with what all papers report about it."""
    own = atlas.papers[slug].claims or ()
    pairs = dict.fromkeys(
        (other, claim_removed(claim)) for claim in own for other in claim.against or {}
    )
    reported = _reported(slug, atlas)
    first = {claim_removed(claim): claim for claim in own}
    return [
        Comparison(
            slug,
            other,
            removed,
            tuple(reported[other, removed]),
            _measured(slug, other, first[removed], atlas),
        )
        for other, removed in pairs
    ]


def all_comparisons(atlas: Atlas) -> list[Comparison]:
    """List each pair that papers compare once, by verdict and then by name."""
    by_pair: dict[tuple[frozenset[str], str], Comparison] = {}
    for slug in atlas.papers:
        for one in comparisons(slug, atlas):
            by_pair.setdefault((frozenset((one.method, one.other)), one.removed), one)
    return sorted(
        by_pair.values(),
        key=lambda one: (VERDICTS.index(one.verdict), atlas.names[one.method].casefold()),
    )


def seed_deviations(board: Board) -> list[float]:
    """List the relative standard deviations over seeds, without collapsed models."""
    ratios = (row.ratio(board.metrics[0]) for row in board.rows if not row.collapsed)
    return sorted(one.deviation / one.mean for one in ratios if one and one.deviation is not None)


def _reported(slug: str, atlas: Atlas) -> dict[tuple[str, str], list[Reported]]:
    """Collect all tables with a method and another one, by that one and what was removed."""
    found: dict[tuple[str, str], list[Reported]] = defaultdict(list)
    # The paper's own tables come first.
    for paper in sorted(atlas.papers, key=lambda name: name != slug):
        for claim in atlas.papers[paper].claims or ():
            values = {paper: claim.value, **(claim.against or {})}
            lower = explained(claim.metric).lower_is_better
            for pair in combinations(values, 2):
                if slug in pair:
                    other = pair[pair[0] == slug]
                    free = paper not in pair and not any(_is_plug_in(one, atlas) for one in pair)
                    setting = "" if free else claim.setting or ""
                    lead = _lead(values[slug], values[other], lower)
                    one = Reported(paper, claim, lead, setting)
                    known = found[other, claim_removed(claim)]
                    if not any(_same_values(one, before) for before in known):
                        known.append(one)
    return found


def _is_plug_in(slug: str, atlas: Atlas) -> bool:
    return slug in atlas.papers and atlas.papers[slug].role == "plug-in"


def _same_values(one: Reported, other: Reported) -> bool:
    """Whether two entries have the same pair of values, as papers copy them from each other."""
    keys = [(it.claim.model, it.claim.metric, round(it.lead, 6)) for it in (one, other)]
    return keys[0] == keys[1]


def _measured(slug: str, other: str, claim: Claim, atlas: Atlas) -> Measured | None:
    for board in atlas.boards:
        rows = [next(_rows(board, name, claim), None) for name in (slug, other)]
        if rows[0] and rows[1]:
            return _compare(rows[0], rows[1], board)
    return None


def _rows(board: Board, slug: str, claim: Claim) -> Iterator[Row]:
    for row in board.rows:
        first = row.first
        default = first.method == slug and not first.changed
        same = same_setting(claim, first.pattern, first.asked)
        if default and same and row.ratio(board.metrics[0]):
            yield row


def _compare(one: Row, other: Row, board: Board) -> Measured:
    name = board.metrics[0]
    lower = metric(name).lower_is_better
    first, second = (
        [ratio for record in row.records if (ratio := record.ratio(name)) is not None]
        for row in (one, other)
    )
    return Measured(
        board=board.title,
        lead=_lead(mean(first), mean(second), lower),
        seeds=(len(first), len(second)),
        separated=max(first) < min(second) or max(second) < min(first),
        collapsed=one.collapsed and other.collapsed,
    )


def _lead(value: float, other: float, lower: bool) -> float:
    """Return the lead of a value over another one, relative to the larger of the two."""
    if value == other:
        return 0.0
    return (1 - min(value, other) / max(value, other)) * (1 if (value < other) == lower else -1)
