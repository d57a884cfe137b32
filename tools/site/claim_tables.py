"""Results that papers report at the same setting: one table per model, sparsity and metric."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

from tools.catalog.schema.paper import Claim
from tools.site.atlas import Atlas
from tools.site.claim_status import CheckedClaim, check_claim
from tools.site.formatting import percent
from tools.site.metrics import Metric, explained, slugified

QUOTED = re.compile(r"(?:of the|quoted in) (.+?) (?:paper|Table|Figure)\b")
"""How `where` names another paper: `Table 1 of the Wanda paper`, `as quoted in SlimGPT Table 1`."""


@dataclass
class Report:
    """A value that one paper reports for a method."""

    method: str
    paper: str
    """The paper that reports it; empty if it is not in the catalog."""
    checked: CheckedClaim
    settings: list[str]
    """The setting of the value; for another paper's method, the setting of the value beside it."""
    places: list[str]
    """Tables and figures that have the value."""
    quoted: bool
    """Whether the value comes from the entry of another paper than the one that reports it."""

    @property
    def own(self) -> bool:
        """Whether the method's own paper reports it."""
        return self.method == self.paper

    @property
    def value(self) -> float:
        """The reported value."""
        return self.checked.claim.value

    @property
    def reporter(self) -> str:
        """The paper that reports it, or the places if the paper is not in the catalog."""
        return self.paper or "; ".join(self.places)


@dataclass(frozen=True)
class MethodReports:
    """All reports on one method in a table, the best value first."""

    method: str
    reports: tuple[Report, ...]

    @cached_property
    def disagreement(self) -> float:
        """The relative gap between the closest values of two papers, the largest over all pairs."""
        values: dict[str, set[float]] = defaultdict(set)
        for report in self.reports:
            values[report.reporter].add(report.value)
        return max((_difference(a, b) for a, b in combinations(values.values(), 2)), default=0.0)


@dataclass(frozen=True)
class ClaimTable:
    """All reports for one model, sparsity or pattern, and metric, the best method first."""

    anchor: str
    model: str
    removed: str
    """Such as `20 %` or `2:4`; empty if the papers do not say."""
    metric: Metric
    methods: tuple[MethodReports, ...]

    @property
    def title(self) -> str:
        """Model and sparsity: `LLaMA-7B at 20 %`."""
        return f"{self.model} at {self.removed}" if self.removed else self.model

    @cached_property
    def reporters(self) -> frozenset[str]:
        """The papers that report a value."""
        return frozenset(report.reporter for one in self.methods for report in one.reports)


def claim_tables(atlas: Atlas) -> list[ClaimTable]:
    """Group all claims and the values they are compared with into tables.

    Tables with the most papers come first, then those with the most methods.
    """
    first: dict[str, Claim] = {}
    by_table: dict[str, dict[str, list[Report]]] = defaultdict(lambda: defaultdict(list))
    # A paper's own entry comes first: the same value quoted from it elsewhere is not a new report.
    for report in sorted(_reports(atlas), key=lambda report: report.quoted):
        name = claim_anchor(report.checked.claim)
        first.setdefault(name, report.checked.claim)
        _add(report, by_table[name][report.method])
    tables = [_table(first[name], reports) for name, reports in by_table.items()]
    return sorted(
        tables, key=lambda one: (-len(one.reporters), -len(one.methods), one.title, one.metric.name)
    )


def claim_removed(claim: Claim) -> str:
    """Write what a claim removes: `20 %`, `2:4`, or nothing if it does not say."""
    return claim.pattern or ("" if claim.sparsity is None else percent(claim.sparsity))


def claim_address(claim: Claim) -> str:
    """Return the address of a claim's table."""
    return f"claims.html#{claim_anchor(claim)}"


def claim_anchor(claim: Claim) -> str:
    """Return the anchor of a claim's table."""
    removed = claim_removed(claim).replace(":", "of")  # or 2:4 would read as 2.4 %
    return slugified(f"{claim.model} at {removed or 'any'} {claim.metric}")


def reporting_paper(slug: str, claim: Claim, atlas: Atlas) -> str:
    """Return the paper that reports a claim of an entry; empty if it is not in the catalog."""
    if named := QUOTED.search(claim.where):
        for other, name in atlas.names.items():
            if name == named[1]:
                return other
        if named[1][0].isupper():  # and not `as quoted in a digest of the paper`
            return ""
    return slug if atlas.papers[slug].has_paper else ""


def _reports(atlas: Atlas) -> Iterator[Report]:
    """Yield each claim as a report on its method, then the values that it is compared with."""
    for slug, entry in atlas.papers.items():
        for claim in entry.claims or ():
            paper = reporting_paper(slug, claim, atlas)
            yield _report(slug, paper, claim, claim.setting or "", paper != slug, atlas)
            beside = f"beside {atlas.names[slug]} ({claim.setting})" if claim.setting else ""
            for other, theirs in claim.beside():
                yield _report(other, paper, theirs, theirs.setting or beside, True, atlas)


def _report(
    method: str, paper: str, claim: Claim, setting: str, quoted: bool, atlas: Atlas
) -> Report:
    here = atlas.methods.get(method)
    checked = check_claim(claim, here.records if here else ())
    return Report(method, paper, checked, [setting] if setting else [], [claim.where], quoted)


def _add(report: Report, known: list[Report]) -> None:
    """Add a report to those of a method, or its setting and place to an equal one."""
    for one in known:
        if report.quoted and (one.reporter, one.value) == (report.reporter, report.value):
            if one.quoted:
                one.settings += [text for text in report.settings if text not in one.settings]
                one.places += [text for text in report.places if text not in one.places]
            return
    known.append(report)


def _table(claim: Claim, by_method: dict[str, list[Report]]) -> ClaimTable:
    metric = explained(claim.metric)

    def rank(report: Report) -> float:
        return report.value if metric.lower_is_better else -report.value

    methods = [
        MethodReports(slug, tuple(sorted(rows, key=rank))) for slug, rows in by_method.items()
    ]
    methods.sort(key=lambda one: rank(one.reports[0]))
    removed = claim_removed(claim)
    return ClaimTable(claim_anchor(claim), claim.model, removed, metric, tuple(methods))


def _difference(some: set[float], others: set[float]) -> float:
    """Return the smallest relative difference between a value of one paper and one of another."""
    return min(abs(a - b) / max(abs(a), abs(b)) if a != b else 0.0 for a in some for b in others)
