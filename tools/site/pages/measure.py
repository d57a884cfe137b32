"""How we measure: protocols, rules, tolerances, what a record holds, how to repeat a number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from implementations.harness.results.protocol import PROTOCOLS
from implementations.harness.results.record import NO_SPEED_UP, TOLERANCES, Record
from tools.site import claims, code
from tools.site.atlas import Atlas
from tools.site.code import HARNESS, Name
from tools.site.render import Front, render

RECORD, PROTOCOL = (HARNESS / "results" / f"{name}.py" for name in ("record", "protocol"))
KINDS = {
    "ppl": "perplexity",
    "achieved": "the share removed",
    "task": "accuracy on a task",
}
"""What the kinds of value in `TOLERANCES` are called."""
FRONT = Front(
    "measure.md",
    "How we measure",
    "Protocols, rules and tolerances behind every number, and how to repeat one.",
    menu="Learn / How we measure",
    styles=("css/learn.css",),
    sources=(PROTOCOL.as_posix(), RECORD.as_posix(), "docs/templates/pages/measure.md"),
    toc=True,
)


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
    example = next((record for record in atlas.records if record.method != "dense"), None)
    yield (
        FRONT.path,
        render(
            "measure",
            FRONT,
            atlas,
            protocols=list(PROTOCOLS.values()),
            runs=Counter(record.protocol.name for record in atlas.records),
            tolerances=[(KINDS.get(kind, kind), held) for kind, held in TOLERANCES.items()],
            claims=claims,
            no_speed_up=NO_SPEED_UP,
            fields=fields(atlas.root),
            machines=machines(atlas.records),
            collapsed=sum("collapsed" in record.labels for record in atlas.records),
            example=example,
            file=_file(example) if example else "",
            tolerance=tolerance,
        ),
    )


def fields(root: Path) -> tuple[Name, ...]:
    """List the fields of a record that its source explains."""
    (record,) = code.module(RECORD, ["Record"], root).names
    return tuple(one for one in record.members if one.kind == "field" and one.doc.summary)


def machines(records: tuple[Record, ...]) -> list[Machine]:
    """List the machines and versions that records come from, most runs first."""
    found = Counter(
        (
            record.hardware.cpu,
            record.hardware.cores,
            record.hardware.accelerator or "none",
            record.versions.get("torch", "unknown"),
            record.versions.get("transformers", "unknown"),
        )
        for record in records
    )
    return [Machine(*key, runs) for key, runs in found.most_common()]


def tolerance(value: float) -> str:
    """Write a relative difference: `1 %`, `0.01 %`; what is below any rounding is `equal`."""
    return "equal" if value < 1e-6 else f"{100 * value:g} %"


def _file(record: Record) -> str:
    """Return where the record lies in a checkout once it is published."""
    return f"implementations/{record.method}/records/{record.protocol.name}/{record.name}.json"
