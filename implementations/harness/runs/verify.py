"""Verification: repeat the run of a record and compare every part of both records.

Nothing in the record is trusted. Deterministic parts must be equal, measured values must agree
within the tolerance of their metric, and derived parts are recomputed. The verdict lists what a
repetition cannot check. The run is repeated with the record's number of threads and, if torch is
not imported yet, its vector instructions. Values must then be equal but for the last digits. The
wide tolerance applies only if processor, instructions, threads, versions or number of processes
still differ from the record. The verdict lists these differences.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from implementations.harness.errors import BadInput
from implementations.harness.prune.registry import get_method
from implementations.harness.results.external import check_name, file_of, parse_reference
from implementations.harness.results.files import short_path
from implementations.harness.results.protocol import PROTOCOLS
from implementations.harness.results.record import DENSE, External, Record
from implementations.harness.runs.job import Job, Setup
from implementations.harness.runs.record_checks import (
    Comparison,
    derived,
    describe_differences,
    excerpt,
    facts,
    timed_on_one_side,
    values,
)
from implementations.harness.runs.run import check_space
from implementations.harness.runs.workbench import Workbench


@dataclass(frozen=True)
class Verdict:
    """Result of a verification."""

    comparisons: tuple[Comparison, ...]
    elsewhere: tuple[str, ...]
    """Differences in machine, processes and versions that justify the wide tolerance."""
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
        BadInput: the record's method, parameters, texts or model do not exist here, or the file
            of the method changed.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(min(record.hardware.threads, os.cpu_count() or 1))
    try:
        again = repeat(record, device=device, model=model, task_folder=task_folder)
    finally:
        torch.set_num_threads(threads)
    return compare(record, again)


def repeat(
    record: Record,
    *,
    device: str | None = None,
    model: str | None = None,
    task_folder: Path | None = None,
) -> Record:
    """Repeat the run of `record` and return the new record without saving it."""
    if task_folder is not None and not record.tasks:
        raise BadInput("--task-folder: the record has no tasks; leave the option out")
    home, accelerator = record.model.device, record.model.accelerator
    if device is not None:
        home, accelerator = ("cpu" if record.model.streamed else device), device
    setup = Setup(
        model=model or record.model.source,
        protocol=record.protocol,
        device=home,
        dtype=record.model.dtype,
        accelerator=None if accelerator == home else accelerator,
        tasks=record.tasks,
        task_folder=None if task_folder is None else str(task_folder),
        stream=record.model.streamed,
    )
    method = None
    if record.method != DENSE:
        origin = record.method
        if record.external:
            check_file(record.external, record.name)
            origin = record.external.source
        method = get_method(origin).configure(**record.configuration)
    bench = Workbench(setup)
    job = Job(method, record.seed, record.recovery)
    if setup.stream and job.edits:
        check_space("TMPDIR", Path(tempfile.gettempdir()), bench.footprint.bytes)
    samples = bench.prepare(job)
    measured, _ = bench.measure(job.dense)
    dense = bench.record(job.dense, measured, None)
    if method is None:
        return dense
    measured, _ = bench.measure(job, samples)
    return bench.record(job, measured, dense)


def check_file(external: External, record: str) -> None:
    """Raise `BadInput` if the method's file, which would be imported, is not that of `record`."""
    reference = parse_reference(external.source)
    if reference and reference.file:
        check_name(external.source)
        if file_of(reference.file, external.source) != external:
            raise BadInput(
                f"{short_path(reference.file)} is not the file with which the record {record} was "
                "made; restore that version of the file, or run the method again for a new record"
            )


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


def elsewhere(record: Record, again: Record) -> Iterator[str]:
    """Yield the differences that affect the values: hardware, number of processes, versions."""
    before, now = record.hardware.conditions, again.hardware.conditions
    shared = [name for name in before if name in now]
    for one, other in (
        ({name: before[name] for name in shared}, {name: now[name] for name in shared}),
        ({"processes": record.processes}, {"processes": again.processes}),
        (record.relevant_versions, again.relevant_versions),
    ):
        yield from describe_differences(one, other)


def changes(record: Record, again: Record) -> Iterator[str]:
    """Yield the differences that do not affect the values."""
    yield from describe_differences(_irrelevant(record), _irrelevant(again))
    names = again.configuration.keys() - record.configuration.keys()
    yield from describe_differences(
        {}, {f"configuration {n}": again.configuration[n] for n in sorted(names)}
    )
    known = PROTOCOLS.get(record.protocol.name)
    if known is not None and known.fingerprint != record.protocol.fingerprint:
        yield f"protocol {known.name}: the record used another version than the current one"


def not_compared(record: Record, again: Record) -> Iterator[str]:
    """Yield the parts of the record that a repetition cannot check."""
    yield "date and name of the run, seconds and peak memory: specific to the recorded run"
    if record.method != DENSE:
        yield f"the run of the dense row, {record.dense.run}: only its values are compared"
    if timed_on_one_side(record, again):
        yield f"speed: {excerpt(record.speed.note)} in the record, {excerpt(again.speed.note)} now"
    for kind in ("prefill", "decode"):
        before, now = getattr(record.speed, kind), getattr(again.speed, kind)
        if before is not None:
            ratio = "not measured" if now is None else f"{now.ratio:.3g}"
            yield f"speed, {kind}: {before.ratio:.3g} times dense in the record, {ratio} now"
    if record.dirty or record.commit != again.commit:
        changes = " with changes" if record.dirty else ""
        yield f"the code: commit {record.commit}{changes} in the record, {again.commit} now"
    if record.model.sha256 is None:
        yield "the weights: the record has no hash of them"


def _irrelevant(record: Record) -> dict[str, Any]:
    """Return the hardware, versions and model location that do not affect the values."""
    hardware = record.hardware.model_dump(mode="json", exclude=set(record.hardware.conditions))
    relevant = record.relevant_versions
    versions = {name: version for name, version in record.versions.items() if name not in relevant}
    model = record.model.model_dump(include={"source", "name", "device", "accelerator"})
    return {f"model {name}": value for name, value in model.items()} | hardware | versions
