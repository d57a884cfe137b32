"""What a repetition only tells: where it was, what is not as it was, and what it cannot show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from implementations.harness.results.comparison import differ, said, short
from implementations.harness.results.protocol import PROTOCOLS
from implementations.harness.results.record import DENSE, Record
from implementations.harness.runs.held import room_for_one
from implementations.harness.runs.recording import tolerances_of

PLACE = ("cpu", "cores", "threads", "accelerator")  # of the hardware, what numbers depend on


def elsewhere(record: Record, again: Record) -> Iterator[str]:
    """Say what differs of the machine and the versions that decide numbers."""
    yield from differ(_deciding(record), _deciding(again))


def changes(record: Record, again: Record) -> Iterator[str]:
    """Say what differs and decides nothing."""
    yield from differ(_surroundings(record), _surroundings(again))
    names = again.configuration.keys() - record.configuration.keys()
    yield from differ({}, {f"configuration {n}": again.configuration[n] for n in sorted(names)})
    known = PROTOCOLS.get(record.protocol.name)
    if known is not None and known.fingerprint != record.protocol.fingerprint:
        yield f"the protocol {known.name} of the record is not the one of that name here"
    for kind, here in tolerances_of(record.values).items():
        there = record.tolerance.get(kind)
        if there is not None and there != here:
            before, now = there.model_dump(mode="json"), here.model_dump(mode="json")
            yield said(f"tolerance of {kind}", before, now) + ", which counts"


def not_compared(record: Record, again: Record) -> Iterator[str]:
    """Say what no repetition can show."""
    yield "date and name of the run, seconds and peak memory: of that one run"
    if record.method != DENSE:
        yield f"the run of the dense row, {record.dense.run}: its values are compared"
    if room_for_one(record, again):
        yield f"speed: {short(record.speed.note)} in the record, {short(again.speed.note)} now"
    for kind in ("prefill", "decode"):
        before, now = getattr(record.speed, kind), getattr(again.speed, kind)
        if before is not None:
            here = "not measured" if now is None else f"{now.ratio:.3g}"
            yield f"speed, {kind}: {before.ratio:.3g} times dense in the record, {here} now"
    if record.dirty or record.commit != again.commit:
        changes = " with changes" if record.dirty else ""
        yield f"the code: the record is of commit {record.commit}{changes}, now {again.commit}"
    if record.model.sha256 is None:
        yield "the weights: the record has no hash of them"


def _surroundings(record: Record) -> dict[str, Any]:
    """Where a run was, but for what decides its numbers."""
    hardware = record.hardware.model_dump(mode="json", exclude=set(PLACE))
    relevant = record.relevant_versions
    versions = {name: version for name, version in record.versions.items() if name not in relevant}
    model = record.model.model_dump(include={"source", "name", "device", "accelerator"})
    return {f"model {name}": value for name, value in model.items()} | hardware | versions


def _deciding(record: Record) -> dict[str, Any]:
    """What a record says of its machine and versions, and numbers depend on."""
    hardware = record.hardware.model_dump(mode="json", include=set(PLACE))
    return hardware | record.relevant_versions
