"""Verification: repeat the run of a record and compare every part of both records.

Nothing in the record is trusted. Deterministic parts must be equal, measured values must agree
within the tolerance of their metric, and derived parts are recomputed. The verdict lists what a
repetition cannot check. The wide tolerance only applies if the record names another machine or
other versions, which cannot be checked either, so the verdict says if it was needed and why.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from implementations.harness.prune.registry import get
from implementations.harness.results.comparison import Comparison
from implementations.harness.results.record import DENSE, Record
from implementations.harness.runs.differences import changes, elsewhere, not_compared
from implementations.harness.runs.job import Job, Setup
from implementations.harness.runs.record_checks import derived, facts, values
from implementations.harness.runs.recording import make_record
from implementations.harness.runs.workbench import Workbench


@dataclass(frozen=True)
class Verdict:
    """Result of a verification."""

    comparisons: tuple[Comparison, ...]
    elsewhere: tuple[str, ...]
    """Differences in machine and versions that justify the wide tolerance."""
    changes: tuple[str, ...]
    """Differences that do not affect the values."""
    not_compared: tuple[str, ...]
    """Parts of the record that a repetition cannot check."""

    @property
    def same_machine(self) -> bool:
        """Whether machine and versions are those of the record."""
        return not self.elsewhere

    @property
    def confirmed(self) -> Literal["narrow", "wide", "no"]:
        """The tolerance that all parts are within; the wide one only counts on another machine."""
        grades = {comparison.grade for comparison in self.comparisons}
        if "off" in grades or ("wide" in grades and self.same_machine):
            return "no"
        return "wide" if "wide" in grades else "narrow"

    @property
    def agrees(self) -> bool:
        """Whether the record is confirmed within either tolerance."""
        return self.confirmed != "no"

    def to_dict(self) -> dict[str, Any]:
        """Convert the verdict to plain data; infinite differences and tolerances become None."""
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
                    "narrow": one.bounds.narrow,
                    "wide": _finite(one.bounds.wide),
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
    """Repeat the run of `record`, on another `device` or copy of the `model` if given, and compare.

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
    """Repeat the run of `record` and return the new record without saving it."""
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
    measured, _ = bench.measure(job.dense)
    dense = make_record(bench, job.dense, measured, None)
    if method is None:
        return dense
    measured, _ = bench.measure(job, samples)
    return make_record(bench, job, measured, dense)


def compare(record: Record, again: Record) -> Verdict:
    """Compare all parts of a record with its repetition and with each other."""
    return Verdict(
        comparisons=(*values(record, again), *facts(record, again), *derived(record)),
        elsewhere=tuple(elsewhere(record, again)),
        changes=tuple(changes(record, again)),
        not_compared=tuple(not_compared(record, again)),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
