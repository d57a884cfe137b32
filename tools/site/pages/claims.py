"""Claims: what papers report at the same setting, side by side, whoever reports it.

One page lists all tables; they stand on pages by model, each with what is reported of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from tools.catalog.schema.vocabulary import vocabulary
from tools.site.atlas import Atlas
from tools.site.claimed import Table, tables
from tools.site.render import Front, render
from tools.site.words import source

FRONT = Front(
    "claims.md",
    "Claims",
    "What papers claim of pruning methods, lined up by model, share and metric.",
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
    """Yield the list of all tables, and a page for each model."""
    found = tables(atlas)
    by_model: dict[str, list[Table]] = defaultdict(list)
    for table in found:
        by_model[table.path].append(table)
    models = [(those[0].model, path, len(those)) for path, those in by_model.items()]
    text = render(
        "claims",
        FRONT,
        atlas,
        tables=found,
        groups=list(_groups(found)),
        models=sorted(models, key=lambda one: (-one[2], one[0].casefold())),
        filters=[_models(found), *_filters(found, atlas)],
        metrics=sorted({table.metric for table in found}, key=lambda metric: metric.name),
        quantities=vocabulary()["metrics"].terms.values(),
        share=_share,
    )
    yield FRONT.path, text
    for path, those in by_model.items():
        yield source(path), _page(path, those, atlas)


def _page(path: str, found: list[Table], atlas: Atlas) -> str:
    model = found[0].model
    front = replace(
        FRONT,
        path=source(path),
        title=f"Claims for {model}",
        description=f"What papers claim of methods that prune {model}, by share and metric.",
    )
    filters = list(_filters(found, atlas)) if len(found) > 1 else []
    return render("claims-model", front, atlas, tables=found, filters=filters, share=_share)


def _groups(found: list[Table]) -> Iterator[tuple[str, list[Table]]]:
    """Yield the tables that several papers fill, and those of one."""
    if shared := [table for table in found if len(table.reporters) > 1]:
        yield "Reported by several papers", shared
    if alone := [table for table in found if len(table.reporters) == 1]:
        yield "Reported by one paper", alone


def _models(found: list[Table]) -> Filter:
    return Filter("model", "Model", _choices((table.model, table.model) for table in found))


def _filters(found: list[Table], atlas: Atlas) -> Iterator[Filter]:
    shares = {_share(table): table.share or "not given" for table in found}
    yield Filter("share", "Removed", tuple(sorted(shares.items(), key=_of_shares)))
    metrics = _choices((table.metric.name, table.metric.label) for table in found)
    yield Filter("metric", "Metric", metrics)
    methods = {line.method for table in found for line in table.lines}
    names = _choices((slug, atlas.names.get(slug, slug)) for slug in methods)
    yield Filter("method", "Method", names)


def _choices(labels: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(set(labels), key=lambda item: (item[1].casefold(), item[0])))


def _share(table: Table) -> str:
    """Name the share of a table in the address: `20`, `2:4`."""
    return table.share.removesuffix(" %") or NO_SHARE


def _of_shares(choice: tuple[str, str]) -> tuple[int, float, str]:
    """Order shares by size, then patterns, and last what is not given."""
    value, label = choice
    if label.endswith(" %"):
        return 0, float(value), ""
    return (2 if value == NO_SHARE else 1), 0.0, value
