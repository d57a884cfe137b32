"""How we measure: protocols, rules, tolerances, fields of a record, how to reproduce a number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from implementations.harness.results.metric import METRICS, TASK, Metric, tie
from implementations.harness.results.protocol import PROTOCOLS
from implementations.harness.results.ranking import CLASSES, SEEDS, SHORTFALL
from implementations.harness.results.record import LARGEST_SPREAD, NO_SPEED_UP, Record
from tools.site import claim_status, code
from tools.site.answers import first_ranking
from tools.site.atlas import Atlas
from tools.site.code import HARNESS, Name
from tools.site.order_agreement import OUTCOMES, order_agreement
from tools.site.render import Front, render
from tools.site.replication import NOISE, seed_deviations
from tools.site.svg_figures import picture

RECORD, PROTOCOL = (HARNESS / "results" / f"{name}.py" for name in ("record", "protocol"))
FRONT = Front(
    "learn/how-we-measure.md",
    "How we measure",
    "Protocols, rules and tolerances behind every number, and how to reproduce one.",
    styles=("css/learn.css",),
    sources=(PROTOCOL.as_posix(), RECORD.as_posix(), "docs/templates/pages/how-we-measure.md"),
    toc=True,
    navigation=True,
)


MOST_PAIRS = 10
"""Largest number of pairs that the page lists."""


@dataclass(frozen=True)
class Machine:
    """One machine that records were measured on."""

    cpu: str
    cores: int
    accelerator: str
    torch: str
    transformers: str
    runs: int


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the page."""
    shown = (r for r in atlas.records if r.method != "dense" and r.command.isprintable())
    example = next(shown, None)
    yield (
        FRONT.path,
        render(
            "how-we-measure",
            FRONT,
            atlas,
            protocols=list(PROTOCOLS.values()),
            runs=Counter(record.protocol.name for record in atlas.records),
            tolerances=[(metric.label, metric.tolerance) for metric in metrics_with_tolerance()],
            claims=claim_status,
            ties=picture("ties", atlas.root),
            noise=NOISE,
            tied=tie,
            classes=CLASSES,
            seeds=SEEDS,
            shortfall=SHORTFALL,
            orders=order_agreement(ranking) if (ranking := first_ranking(atlas)) else None,
            outcomes=OUTCOMES,
            most=MOST_PAIRS,
            spread=LARGEST_SPREAD,
            deviations=seed_deviations(atlas.boards[0]) if atlas.boards else [],
            no_speed_up=NO_SPEED_UP,
            fields=fields(atlas.root),
            machines=machines(atlas.records),
            collapsed=sum("collapsed" in record.labels for record in atlas.records),
            example=example,
            file=_file(example) if example else "",
            tolerance=tolerance,
        ),
    )


def metrics_with_tolerance() -> list[Metric]:
    """List the metrics with a tolerance of their own, then the one that stands for the others."""
    return [metric for metric in METRICS.values() if metric.tolerance != TASK.tolerance] + [TASK]


def fields(root: Path) -> tuple[Name, ...]:
    """List the fields of a record that have a docstring."""
    (record,) = code.module(RECORD, ["Record"], root).names
    return tuple(one for one in record.members if one.kind == "field" and one.doc.summary)


def machines(records: tuple[Record, ...]) -> list[Machine]:
    """List the machines and versions of the records, most runs first."""
    counts = Counter(
        (
            record.hardware.cpu,
            record.hardware.cores,
            record.hardware.accelerator or "none",
            record.versions.get("torch", "unknown"),
            record.versions.get("transformers", "unknown"),
        )
        for record in records
    )
    return [Machine(*key, runs) for key, runs in counts.most_common()]


def tolerance(value: float) -> str:
    """Write a relative difference as `1 %` or `0.01 %`; below any rounding error it is `equal`."""
    return "equal" if value < 1e-6 else f"{100 * value:g} %"


def _file(record: Record) -> str:
    """Return the path of a published record in a checkout."""
    return f"implementations/{record.method}/records/{record.protocol.name}/{record.name}.json"
