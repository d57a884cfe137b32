"""Whether our measurements confirm the order of two methods that papers report.

An order is judged only where the difference exceeds the noise, in the papers and here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import mean

from implementations.harness.results.boards import Board, Row
from implementations.harness.results.metric import TIE, metric, tie
from tools.catalog.schema.paper import Claim
from tools.site.answers import Ranking
from tools.site.atlas import Atlas
from tools.site.claim_status import same_setting
from tools.site.claim_tables import claim_removed, reporting_paper
from tools.site.metrics import explained, slugified

NOISE = TIE
"""Values in a paper up to this relative difference count as equal."""
VERDICTS = (
    "does not hold",
    "holds",
    "too close here",
    "papers disagree",
    "depends on the setting",
    "too close in papers",
    "metrics differ",
    "not measured",
)
OUTCOMES = ("holds", "does not hold", "cannot be judged", "not measured")
"""The verdicts; `cannot be judged` stands for every reason why an order cannot be judged."""
BASE_FIELDS = ("base", "initial")
"""Parameters of plug-ins that name the method they work on."""
NO_BASE = "base method not given"
_Sides = tuple[tuple[str, Claim], tuple[str, Claim]]
"""The two methods of a pair, each with its value and setting."""


@dataclass(frozen=True)
class Reported:
    """What one table of a paper says about a pair of methods."""

    entry: str
    """The entry that states the values."""
    paper: str
    """The paper that has the table; empty if it is not in the catalog."""
    claim: Claim
    values: tuple[float, float]
    """The values of the two methods."""
    setting: str
    """What the values depend on; empty if our runs have the same setting."""
    base: str = ""
    """The method that a plug-in of the pair works on, if the table names it."""

    @property
    def kind(self) -> str:
        """The kind of metric, such as `ppl` or `acc`."""
        return self.claim.metric.partition("/")[0]

    @property
    def lead(self) -> float:
        """Relative lead of the first method; negative if it is behind."""
        return _lead(*self.values, explained(self.claim.metric).lower_is_better)


@dataclass(frozen=True)
class Measured:
    """What one of our boards says about a pair of methods.

    Both have their defaults if there are such runs. A plug-in works on the method that the papers
    name.
    """

    board: str
    metric: str
    values: tuple[float, float]
    """The means over seeds of the two methods."""
    lead: float
    """Relative lead of the first method, from the mean ratios to dense."""
    noise: float
    """The lead at which the two are equal."""
    seeds: tuple[int, int]
    separated: bool
    """Whether every seed of one is better than every seed of the other."""
    collapsed: bool
    """Whether both models collapsed, so that their order means nothing."""
    settings: tuple[str, str]
    """The fields of each method that differ from their defaults, as `name=value`."""

    @property
    def clear(self) -> bool:
        """Whether the difference exceeds the noise."""
        return abs(self.lead) > self.noise and self.separated and not self.collapsed


@dataclass(frozen=True)
class Comparison:
    """Two methods, each at one sparsity or pattern, in the papers and here."""

    method: str
    other: str
    removals: tuple[str, str]
    """What each method removes, such as `50 %` or `2:4`; empty if the papers do not say."""
    reported: tuple[Reported, ...]
    measured: Measured | None

    @property
    def removed(self) -> str:
        """What both methods remove; `45 % and 2:4` if they differ."""
        return " and ".join(dict.fromkeys(filter(None, self.removals)))

    @property
    def judged(self) -> tuple[Reported, ...]:
        """The reported values of the kind of metric that we measured, or all if there are none."""
        kind = self.measured.metric.partition("/")[0] if self.measured else ""
        return tuple(one for one in self.reported if one.kind == kind) or self.reported

    @property
    def order(self) -> str:
        """The order in the papers: the first method is `ahead`, `behind`, `close` or `mixed`."""
        clear = [one.lead for one in self.judged if abs(one.lead) > NOISE]
        if len({lead > 0 for lead in clear}) > 1:
            return "mixed"
        if not clear:
            return "close"
        return "ahead" if clear[0] > 0 else "behind"

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`."""
        if self.measured is None:
            return "not measured"
        if self.judged[0].kind != self.measured.metric.partition("/")[0]:
            return "metrics differ"
        if self.order == "mixed":
            return "papers disagree"
        if self.order == "close":
            return "too close in papers"
        if all(one.setting for one in self.judged if abs(one.lead) > NOISE):
            return "depends on the setting"
        if not self.measured.clear:
            return "too close here"
        if (self.measured.lead > 0) == (self.order == "ahead"):
            return "holds"
        # The other order may come from our settings, such as a training of fewer steps.
        return "depends on the setting" if any(self.measured.settings) else "does not hold"

    @property
    def outcome(self) -> str:
        """One of `OUTCOMES`."""
        return self.verdict if self.verdict in OUTCOMES else "cannot be judged"

    @property
    def anchor(self) -> str:
        """The anchor of the pair on its page, the same for both of its methods."""
        # A pattern such as 2:4 would otherwise read as 24 %.
        names = " ".join(sorted((self.method, self.other)))
        removed = " ".join(sorted(set(self.removals)))
        return slugified(f"{names} {removed.replace(':', ' of ')}")

    def seen_from(self, slug: str) -> Comparison:
        """Return the same pair with `slug` as the first method."""
        if slug == self.method:
            return self
        here = self.measured
        return replace(
            self,
            method=self.other,
            other=self.method,
            removals=self.removals[::-1],
            reported=tuple(_swapped(one) for one in self.reported),
            measured=here
            and replace(
                here,
                values=here.values[::-1],
                lead=-here.lead,
                seeds=here.seeds[::-1],
                settings=here.settings[::-1],
            ),
        )


@dataclass(frozen=True)
class Tally:
    """The number of orders by outcome."""

    holds: int
    opposite: int
    unclear: int
    missing: int

    @classmethod
    def of(cls, pairs: Iterable[Comparison]) -> Tally:
        """Count pairs by `outcome`."""
        outcomes = [one.outcome for one in pairs]
        return cls(*(outcomes.count(outcome) for outcome in OUTCOMES))

    @property
    def measured(self) -> int:
        """The number of pairs of which both methods were measured."""
        return self.holds + self.opposite + self.unclear

    def __str__(self) -> str:
        """Write the counts of the measured pairs as a clause without a subject."""
        hold = "1 holds" if self.holds == 1 else f"{self.holds} hold"
        not_hold = f"{self.opposite} {'does' if self.opposite == 1 else 'do'} not hold"
        return f"{hold}, {not_hold}, and {self.unclear} cannot be judged"


def all_comparisons(atlas: Atlas) -> list[Comparison]:
    """List each pair of methods in a table of a paper once, by verdict and then by name."""
    first: dict[frozenset[tuple[str, str]], _Sides] = {}
    reported: dict[frozenset[tuple[str, str]], list[Reported]] = defaultdict(list)
    for sides, report in _reports(atlas):
        key = frozenset((slug, claim_removed(claim)) for slug, claim in sides)
        same = first.setdefault(key, sides)[0][0] == sides[0][0]
        one = report if same else _swapped(report)
        if not any(_same_values(one, before) for before in reported[key]):
            reported[key].append(one)
    pairs = (
        Comparison(
            one,
            two,
            (claim_removed(mine), claim_removed(theirs)),
            *_matched(reported[key], ((one, mine), (two, theirs)), atlas),
        )
        for key, ((one, mine), (two, theirs)) in first.items()
    )
    return sorted(
        pairs,
        key=lambda one: (
            VERDICTS.index(one.verdict),
            *(atlas.names.get(slug, slug).casefold() for slug in (one.method, one.other)),
            one.removed,
        ),
    )


def comparisons(slug: str, pairs: Iterable[Comparison]) -> list[Comparison]:
    """Return the pairs with a method, with this method first."""
    return [one.seen_from(slug) for one in pairs if slug in (one.method, one.other)]


def seed_deviations(board: Board) -> list[float]:
    """List the relative standard deviations over seeds, without collapsed models."""
    ratios = (row.ratio(board.metrics[0]) for row in board.rows if not row.collapsed)
    return sorted(one.deviation / one.mean for one in ratios if one and one.deviation is not None)


def _reports(atlas: Atlas) -> Iterator[tuple[_Sides, Reported]]:
    """Yield each pair in each table; entries of one of the two methods come first."""
    later = []
    for slug, entry in atlas.papers.items():
        for claim in entry.claims or ():
            paper = reporting_paper(slug, claim, atlas)
            beside = list(claim.beside())
            for sides in combinations([(slug, claim), *beside], 2):
                (method, mine), (_, theirs) = sides
                own = slug == method
                plug_in = any(_is_plug_in(one, atlas) for one, _ in sides)
                # A setting concerns the method of its entry. The base of a plug-in and a
                # training (`after ...`) concern all methods of the table.
                shared = own or plug_in or (claim.setting or "").startswith("after ")
                named = claim.setting or "" if shared else ""
                base = _named_base(named, atlas) if plug_in else ""
                settings = [named] if named else [NO_BASE] if plug_in else []
                settings += [
                    f"{atlas.names.get(one, one)}: {at.setting}"
                    for one, at in sides
                    if at.setting and one != slug
                ]
                both = mine.value, theirs.value
                setting = "; ".join(settings)
                report = sides, Reported(slug, paper, claim, both, setting, base)
                if own:
                    yield report
                else:
                    later.append(report)
    yield from later


def _swapped(report: Reported) -> Reported:
    return replace(report, values=report.values[::-1])


def _is_plug_in(slug: str, atlas: Atlas) -> bool:
    return slug in atlas.papers and atlas.papers[slug].role == "plug-in"


def _named_base(setting: str, atlas: Atlas) -> str:
    """Return the method in a setting such as `with Wanda` or `from a Wanda mask`."""
    found = re.fullmatch(r"(?:with|from an?|on an?) (.+?)(?: mask)?", setting)
    name = found[1].casefold() if found else None
    return next((slug for slug, known in atlas.names.items() if known.casefold() == name), "")


def _matched(
    reports: list[Reported], sides: _Sides, atlas: Atlas
) -> tuple[tuple[Reported, ...], Measured | None]:
    """Return what papers report about a pair, and our measurement on the base that they name."""
    bases = {one.base for one in reports}
    base = bases.pop() if len(bases) == 1 else ""
    if base and (found := _measured(sides, atlas, base)):
        return tuple(replace(one, setting="") for one in reports), found
    return tuple(reports), _measured(sides, atlas)


def _same_values(one: Reported, other: Reported) -> bool:
    """Whether two entries have the same pair of values, as papers copy them from each other."""
    keys = [(it.claim.model, it.claim.metric, round(it.lead, 6)) for it in (one, other)]
    return keys[0] == keys[1]


def _measured(sides: _Sides, atlas: Atlas, base: str = "") -> Measured | None:
    """Compare two methods on the first board that has both, plug-ins on `base` if it is given.

    Boards on which both have their defaults come before the others.
    """
    found = []
    for board in atlas.boards:
        ranking = Ranking(board, atlas)
        one, two = (
            _row(ranking, name, claim, base if _is_plug_in(name, atlas) else "")
            for name, claim in sides
        )
        if one and two and not board.recovery:
            found.append(_compare(one, two, board))
    return min(found, key=lambda measured: any(measured.settings), default=None)


def _row(ranking: Ranking, slug: str, claim: Claim, base: str) -> Row | None:
    """Return the row of a method that is closest to its defaults."""

    def fits(row: Row) -> bool:
        first = row.first
        bases = [first.configuration.get(name) for name in BASE_FIELDS]
        return (
            first.method == slug
            and same_setting(claim, first.pattern, first.requested)
            and (base in bases if base else not set(first.changed) & set(BASE_FIELDS))
            and row.ratio(ranking.board.metrics[0]) is not None
        )

    return min(filter(fits, ranking.board.rows), key=ranking.distance, default=None)


def _settings(row: Row) -> str:
    """Return the fields of a row that differ from their defaults, apart from the base."""
    first = row.first
    named = zip(first.changed, first.changes, strict=True)
    return " ".join(change for name, change in named if name not in BASE_FIELDS)


def _compare(one: Row, other: Row, board: Board) -> Measured:
    name = board.metrics[0]
    lower = metric(name).lower_is_better
    first, second = (
        [ratio for record in row.records if (ratio := record.ratio(name)) is not None]
        for row in (one, other)
    )
    return Measured(
        board=board.title,
        metric=name,
        values=(_mean_value(one, name), _mean_value(other, name)),
        lead=_lead(mean(first), mean(second), lower),
        noise=tie(max(mean(first), mean(second))),
        seeds=(len(first), len(second)),
        separated=max(first) < min(second) or max(second) < min(first),
        collapsed=one.collapsed and other.collapsed,
        settings=(_settings(one), _settings(other)),
    )


def _mean_value(row: Row, name: str) -> float:
    return mean(record.values[name] for record in row.records)


def _lead(value: float, other: float, lower: bool) -> float:
    """Return the lead of a value over another one, relative to the larger of the two."""
    if value == other:
        return 0.0
    return (1 - min(value, other) / max(value, other)) * (1 if (value < other) == lower else -1)
