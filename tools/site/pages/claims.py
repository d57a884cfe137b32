"""Claims: what papers report at the same setting, side by side, whoever reports it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tools.catalog.schema.vocabulary import vocabulary
from tools.site.atlas import Atlas
from tools.site.claimed import Table, tables
from tools.site.render import Front, render

FRONT = Front(
    "claims.md",
    "Claims",
    "What papers claim of pruning methods, lined up by model, share and metric.",
    menu="Claims",
    styles=("css/controls.css", "css/claims.css"),
    scripts=("js/claims.js",),
    sources=("catalog/papers", "catalog/vocabulary"),
)
NO_SHARE = "none"
"""What the address calls tables of claims that give neither share nor pattern."""


@dataclass(frozen=True)
class Filter:
    """One menu above the tables: its name in the address, and its choices with their labels."""

    name: str
    label: str
    choices: tuple[tuple[str, str], ...]


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the page."""
    found = tables(atlas)
    metrics = sorted({table.metric for table in found}, key=lambda metric: metric.name)
    text = render(
        "claims",
        FRONT,
        atlas,
        tables=found,
        filters=list(_filters(found, atlas)),
        metrics=metrics,
        quantities=vocabulary()["metrics"].terms.values(),
        share=_share,
    )
    yield FRONT.path, text


def _filters(found: list[Table], atlas: Atlas) -> Iterator[Filter]:
    yield Filter("model", "Model", _choices({table.model: table.model for table in found}))
    shares = {_share(table): table.share or "not given" for table in found}
    order = sorted(shares.items(), key=_of_shares)
    yield Filter("share", "Removed", tuple(order))
    labels = {table.metric.name: table.metric.label for table in found}
    yield Filter("metric", "Metric", _choices(labels))
    methods = {line.method for table in found for line in table.lines}
    names = {slug: atlas.names.get(slug, slug) for slug in methods}
    yield Filter("method", "Method", _choices(names))


def _choices(labels: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items(), key=lambda item: item[1].casefold()))


def _share(table: Table) -> str:
    """Name the share of a table in the address: `20`, `2:4`."""
    return table.share.removesuffix(" %") or NO_SHARE


def _of_shares(choice: tuple[str, str]) -> tuple[int, float, str]:
    """Order shares by size, then patterns, and last what is not given."""
    value, label = choice
    if label.endswith(" %"):
        return 0, float(value), ""
    return (2 if value == NO_SHARE else 1), 0.0, value
