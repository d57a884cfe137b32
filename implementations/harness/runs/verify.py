"""Running a record again from nothing but itself, and saying how far apart the two are.

A record is believed in nothing: what may differ, and by how much, is said here and by the metrics.
What is deterministic is held to be equal, what follows from the rest of a record is worked out
from it, and what no repetition can show is said. Where a run was measured is the record's word too.
It decides whether the wide tolerance will do, and so the verdict says when it was needed, and why.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from implementations.harness.prune.registry import get
from implementations.harness.results.comparison import Comparison
from implementations.harness.results.record import DENSE, Record
from implementations.harness.runs.held import derived, facts, values
from implementations.harness.runs.job import Job, Setup
from implementations.harness.runs.recording import make_record
from implementations.harness.runs.told import changes, elsewhere, not_compared
from implementations.harness.runs.workbench import Workbench


@dataclass(frozen=True)
class Verdict:
    """What a repetition showed."""

    comparisons: tuple[Comparison, ...]
    elsewhere: tuple[str, ...]
    """Why the wide tolerance may do: what the record says of its machine, and is not so here."""
    changes: tuple[str, ...]
    """What else is not as in the record, and decides nothing."""
    not_compared: tuple[str, ...]
    """What the record says and a repetition cannot show."""

    @property
    def same_machine(self) -> bool:
        """Whether machine and versions are those that the record names."""
        return not self.elsewhere

    @property
    def confirmed(self) -> Literal["narrow", "wide", "no"]:
        """The tolerance that everything is within; the wide one counts only elsewhere."""
        grades = {comparison.grade for comparison in self.comparisons}
        if "off" in grades or ("wide" in grades and self.same_machine):
            return "no"
        return "wide" if "wide" in grades else "narrow"

    @property
    def agrees(self) -> bool:
        """Whether the record is confirmed at all."""
        return self.confirmed != "no"

    def to_dict(self) -> dict[str, Any]:
        """The verdict as plain data; a difference or tolerance without end is none."""
        return {
            "confirmed": self.confirmed,
            "agrees": self.agrees,
            "same_machine": self.same_machine,
            "elsewhere": list(self.elsewhere),
            "changes": list(self.changes),
            "not_compared": list(self.not_compared),
            "comparisons": [
                {
                    "name": one.name,
                    "recorded": one.recorded,
                    "again": one.again,
                    "difference": _finite(one.difference),
                    "narrow": one.held.narrow,
                    "wide": _finite(one.held.wide),
                    "within": one.grade,
                }
                for one in self.comparisons
            ],
        }


def verify(
    record: Record,
    *,
    device: str | None = None,
    model: str | None = None,
    task_folder: Path | None = None,
) -> Verdict:
    """Run `record` again and compare; `device` and `model` say where, if not as recorded.

    Raises:
        BadInput: the record's method, parameters, texts or model do not exist here.
    """
    again = repeat(record, device=device, model=model, task_folder=task_folder)
    return compare(record, again)


def repeat(
    record: Record,
    *,
    device: str | None = None,
    model: str | None = None,
    task_folder: Path | None = None,
) -> Record:
    """Make the record of the same request anew; nothing is written."""
    setup = Setup(
        model=model or record.model.source,
        protocol=record.protocol,
        device=device or record.model.device,
        dtype=record.model.dtype,
        accelerator=None
        if record.model.accelerator == record.model.device
        else record.model.accelerator,
        tasks=record.tasks,
        task_folder=None if task_folder is None else str(task_folder),
    )
    method = None
    if record.method != DENSE:
        method = get(record.method).configure(**record.configuration)
    bench = Workbench(setup)
    job = Job(method, record.seed, record.recovery)
    samples = bench.prepare(job)
    found, _ = bench.measure(job.dense)
    dense = make_record(bench, job.dense, found, None)
    if method is None:
        return dense
    found, _ = bench.measure(job, samples)
    return make_record(bench, job, found, dense)


def compare(record: Record, again: Record) -> Verdict:
    """Hold all of a record against its repetition, and against itself."""
    return Verdict(
        comparisons=(*values(record, again), *facts(record, again), *derived(record)),
        elsewhere=tuple(elsewhere(record, again)),
        changes=tuple(changes(record, again)),
        not_compared=tuple(not_compared(record, again)),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
