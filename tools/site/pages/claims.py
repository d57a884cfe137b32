"""Claims: what papers report at the same setting, in one table that can be filtered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tools.catalog.schema.vocabulary import vocabulary
from tools.site.atlas import Atlas
from tools.site.claim_tables import ClaimTable, claim_tables
from tools.site.render import Front, render
from tools.site.replication import Tally, all_comparisons

FRONT = Front(
    "claims.md",
    "Claims",
    "What papers report for pruning methods, by model, sparsity and metric.",
    styles=("css/controls.css", "css/claims.css"),
    scripts=("js/filters.js",),
    sources=("catalog/papers", "catalog/vocabulary"),
)
NOT_GIVEN = "none"
"""How the address names claims that state neither sparsity nor pattern."""


@dataclass(frozen=True)
class Filter:
    """One menu above the table: its name in the address, its label and its choices."""

    name: str
    label: str
    choices: tuple[tuple[str, str], ...]


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the page."""
    tables = claim_tables(atlas)
    text = render(
        "claims",
        FRONT,
        atlas,
        tables=tables,
        filters=list(_filters(tables, atlas)),
        metrics=sorted({table.metric for table in tables}, key=lambda metric: metric.name),
        quantities=vocabulary()["metrics"].terms.values(),
        removed=_removed,
        attempted=any(
            report.checked.status
            for table in tables
            for one in table.methods
            for report in one.reports
        ),
        orders=Tally.of(all_comparisons(atlas)),
    )
    yield FRONT.path, text


def _filters(tables: list[ClaimTable], atlas: Atlas) -> Iterator[Filter]:
    yield Filter("model", "Model", _choices((table.model, table.model) for table in tables))
    shares = {_removed(table): table.removed or "not given" for table in tables}
    yield Filter("share", "Removed", tuple(sorted(shares.items(), key=_removed_order)))
    metrics = _choices((table.metric.name, table.metric.label) for table in tables)
    yield Filter("metric", "Metric", metrics)
    slugs = {one.method for table in tables for one in table.methods}
    methods = _choices((slug, atlas.names.get(slug, slug)) for slug in slugs)
    yield Filter("method", "Method", methods)


def _choices(labels: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(set(labels), key=lambda item: (item[1].casefold(), item[0])))


def _removed(table: ClaimTable) -> str:
    """Name what a table removes in the address: `20`, `2:4`."""
    return table.removed.removesuffix(" %") or NOT_GIVEN


def _removed_order(choice: tuple[str, str]) -> tuple[int, float, str]:
    """Sort by sparsity, then by pattern; claims without either come last."""
    value, label = choice
    if label.endswith(" %"):
        return 0, float(value), ""
    return (2 if value == NOT_GIVEN else 1), 0.0, value
