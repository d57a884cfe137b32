"""The board of claims: what all papers report at one setting, a table each, nobody left out."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

from tools.catalog.schema.paper import Claim
from tools.site.atlas import Atlas
from tools.site.claims import Checked, checked
from tools.site.metrics import Metric, explained, slugified
from tools.site.words import percent

LONGEST = 80
"""Letters of a model's name in addresses, which are names of files."""
QUOTED = re.compile(r"(?:of the|quoted in) (.+?) (?:paper|Table|Figure)\b")
"""How `where` names another paper: `Table 1 of the Wanda paper`, `as quoted in SlimGPT Table 1`."""


@dataclass
class Report:
    """A value of a method in one paper."""

    method: str
    by: str
    """The paper that reports it; empty where that is none of the catalog."""
    found: Checked
    settings: list[str]
    """What the value depends on; of a rival's, what the paper's own value beside it depends on."""
    wheres: list[str]
    quoted: bool
    """Whether it is known from elsewhere than the entry of the paper that reports it."""

    @property
    def own(self) -> bool:
        """Whether the method's own paper reports it."""
        return self.method == self.by

    @property
    def value(self) -> float:
        """What is reported."""
        return self.found.claim.value

    @property
    def reporter(self) -> str:
        """Who reports it, told from every other."""
        return self.by or "; ".join(self.wheres)


@dataclass(frozen=True)
class Line:
    """All that is reported of one method at one setting, the best value first."""

    method: str
    reports: tuple[Report, ...]

    @cached_property
    def apart(self) -> float:
        """How far two papers that share no value are apart, relative to the larger value."""
        values: dict[str, set[float]] = defaultdict(set)
        for report in self.reports:
            values[report.reporter].add(report.value)
        return max((_apart(a, b) for a, b in combinations(values.values(), 2)), default=0.0)


@dataclass(frozen=True)
class Table:
    """One model, share or pattern, and metric, with its methods, the best first."""

    path: str
    """The page of its model."""
    anchor: str
    model: str
    share: str
    """Such as `20 %` or `2:4`; empty where papers give none."""
    metric: Metric
    lines: tuple[Line, ...]

    @property
    def title(self) -> str:
        """Model and share: `LLaMA-7B at 20 %`."""
        return f"{self.model} at {self.share}" if self.share else f"{self.model}, share not given"

    @property
    def address(self) -> str:
        """Where it stands."""
        return f"{self.path}#{self.anchor}"

    @cached_property
    def reporters(self) -> frozenset[str]:
        """Who reports something."""
        return frozenset(report.reporter for line in self.lines for report in line.reports)

    @property
    def best(self) -> Report | None:
        """The best value; None where nobody said which end is."""
        return self.lines[0].reports[0] if self.metric.better else None

    @property
    def disputed(self) -> bool:
        """Whether two papers share no value of a method."""
        return any(line.apart for line in self.lines)


def tables(atlas: Atlas) -> list[Table]:
    """Line up every claim and every value that it stands against.

    First what most papers report, then what most methods are reported for.
    """
    heads: dict[str, Claim] = {}
    found: dict[str, dict[str, list[Report]]] = defaultdict(lambda: defaultdict(list))
    # What entries say of themselves comes first: the same value quoted from there is no new report.
    for report in sorted(_reports(atlas), key=lambda report: report.quoted):
        name = anchor(report.found.claim)
        heads.setdefault(name, report.found.claim)
        _add(report, found[name][report.method])
    made = [_table(heads[name], reports) for name, reports in found.items()]
    return sorted(
        made, key=lambda one: (-len(one.reporters), -len(one.lines), one.title, one.metric.name)
    )


def share(claim: Claim) -> str:
    """Write what a claim removes: `20 %`, `2:4`, or nothing where it does not say."""
    return claim.pattern or ("" if claim.sparsity is None else percent(claim.sparsity))


def claim_page(model: str) -> str:
    """Where the tables of a model stand, however it is spelled."""
    return f"claims/{slugified(model)[:LONGEST].rstrip('-') or 'other'}.html"


def claim_address(claim: Claim) -> str:
    """Where the table of a claim stands."""
    return f"{claim_page(claim.model)}#{anchor(claim)}"


def anchor(claim: Claim) -> str:
    """Name the table of a claim, unlike every other."""
    removed = share(claim).replace(":", "of")  # or 2:4 would read as 2.4 %
    return slugified(f"{claim.model} at {removed or 'any'} {claim.metric}")


def _reports(atlas: Atlas) -> Iterator[Report]:
    """Yield each claim as a report of its method, then what it stands against."""
    slugs = {name: slug for slug, name in atlas.names.items()}
    for slug, paper in atlas.papers.items():
        for claim in paper.claims or ():
            named = QUOTED.search(claim.where)
            quoted = slugs.get(named[1], "") if named else ""
            by = quoted or (slug if paper.has_paper else "")
            yield _report(slug, by, claim, claim.setting or "", by != slug, atlas)
            beside = f"beside {atlas.names[slug]} ({claim.setting})" if claim.setting else ""
            for other, value in (claim.against or {}).items():
                theirs = claim.model_copy(update={"value": value, "against": None})
                yield _report(other, by, theirs, beside, True, atlas)


def _report(method: str, by: str, claim: Claim, setting: str, quoted: bool, atlas: Atlas) -> Report:
    here = atlas.methods.get(method)
    found = checked(claim, here.records if here else ())
    return Report(method, by, found, [setting] if setting else [], [claim.where], quoted)


def _add(report: Report, known: list[Report]) -> None:
    """Add a report to those of a method, or what it depends on to the same one seen before."""
    for one in known:
        if report.quoted and (one.reporter, one.value) == (report.reporter, report.value):
            if one.quoted:
                one.settings += [text for text in report.settings if text not in one.settings]
                one.wheres += [text for text in report.wheres if text not in one.wheres]
            return
    known.append(report)


def _table(claim: Claim, found: dict[str, list[Report]]) -> Table:
    metric = explained(claim.metric)

    def better(report: Report) -> float:
        return report.value if metric.lower_is_better else -report.value

    lines = [Line(method, tuple(sorted(rows, key=better))) for method, rows in found.items()]
    lines.sort(key=lambda line: better(line.reports[0]))
    path = claim_page(claim.model)
    return Table(path, anchor(claim), claim.model, share(claim), metric, tuple(lines))


def _apart(some: set[float], others: set[float]) -> float:
    """Return the least relative difference between a value of one paper and one of another."""
    return min(abs(a - b) / max(abs(a), abs(b)) if a != b else 0.0 for a in some for b in others)
