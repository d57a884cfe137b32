"""Differences between a record and its repetition that `verify` reports but does not judge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from implementations.harness.results.comparison import (
    describe_difference,
    describe_differences,
    excerpt,
)
from implementations.harness.results.protocol import PROTOCOLS
from implementations.harness.results.record import DENSE, Record
from implementations.harness.runs.record_checks import timed_on_one_side
from implementations.harness.runs.recording import tolerances_of

RELEVANT_HARDWARE = ("cpu", "cores", "threads", "accelerator")  # affects the values


def elsewhere(record: Record, again: Record) -> Iterator[str]:
    """Yield the differences in hardware and versions that affect the values."""
    yield from describe_differences(_relevant(record), _relevant(again))


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
    for kind, current in tolerances_of(record.values).items():
        recorded = record.tolerance.get(kind)
        if recorded is not None and recorded != current:
            before, now = recorded.model_dump(mode="json"), current.model_dump(mode="json")
            yield describe_difference(f"tolerance of {kind}", before, now) + ", which counts"


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
    hardware = record.hardware.model_dump(mode="json", exclude=set(RELEVANT_HARDWARE))
    relevant = record.relevant_versions
    versions = {name: version for name, version in record.versions.items() if name not in relevant}
    model = record.model.model_dump(include={"source", "name", "device", "accelerator"})
    return {f"model {name}": value for name, value in model.items()} | hardware | versions


def _relevant(record: Record) -> dict[str, Any]:
    """Return the hardware and versions that affect the values."""
    hardware = record.hardware.model_dump(mode="json", include=set(RELEVANT_HARDWARE))
    return hardware | record.relevant_versions
