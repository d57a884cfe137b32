"""Comparisons of each part of a record with its repetition, and of derived parts with the rest."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal, NamedTuple

from implementations.harness.results.metric import ACHIEVED, PERPLEXITIES, Tolerance, metric, tie
from implementations.harness.results.reading import one_line
from implementations.harness.results.record import DENSE, Record
from implementations.harness.runs.recording import command_of, labels_of, name_of, time_of

Grade = Literal["narrow", "wide", "off"]
"""The narrowest bound that a difference is within."""


class Bounds(NamedTuple):
    """Largest relative difference on the machine of the record (narrow) and on another (wide)."""

    narrow: float
    wide: float


EXACT = Bounds(0.0, 0.0)
COUNTS = Bounds(0.0, 1e-2)  # another machine may break near ties between scores differently
SENSITIVE = Bounds(1e-4, math.inf)  # depends on the last bits, so another machine may differ freely


@dataclass(frozen=True)
class Comparison:
    """One recorded value and the repeated one; None where a side lacks the value."""

    name: str
    recorded: Any
    again: Any
    bounds: Bounds

    @property
    def difference(self) -> float:
        """The `relative_difference` of the two values."""
        return relative_difference(self.recorded, self.again)

    @property
    def grade(self) -> Grade:
        """The narrowest bound that the difference is within."""
        if self.difference <= self.bounds.narrow:
            return "narrow"
        return "wide" if self.difference <= self.bounds.wide else "off"

    @property
    def measured(self) -> bool:
        """Whether this is a measured number, which differs in its last bits between machines."""
        return self.bounds.narrow > 0 and self.bounds != SENSITIVE

    def __str__(self) -> str:
        return describe_difference(self.name, self.recorded, self.again)


def relative_difference(recorded: Any, again: Any) -> float:
    """Return the largest relative difference between the numbers of two JSON values.

    It is absolute where the recorded number is 0, and infinite if anything but numbers differs.
    """
    if isinstance(recorded, dict) and isinstance(again, dict):
        same = recorded.keys() == again.keys()
        pairs = [(value, again[name]) for name, value in recorded.items()] if same else []
    elif isinstance(recorded, list) and isinstance(again, list):
        same = len(recorded) == len(again)
        pairs = list(zip(recorded, again, strict=True)) if same else []
    elif _number(recorded) and _number(again):
        return float(abs(again - recorded) / (abs(recorded) or 1.0))
    else:
        same, pairs = (type(recorded), recorded) == (type(again), again), []
    return max((relative_difference(*pair) for pair in pairs), default=0.0) if same else math.inf


def describe_difference(name: str, recorded: Any, again: Any) -> str:
    """Return a line that shows both values, from shortly before the first difference."""
    texts = [json.dumps(value, ensure_ascii=False) for value in (recorded, again)]
    first = next((i for i, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), 0)
    before, now = (excerpt(text, max(0, first - 20)) for text in texts)
    return f"{one_line(name)}: {before} in the record, {now} now"


def describe_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield one line per entry that differs between two mappings."""
    for name in dict.fromkeys((*before, *now)):
        if before.get(name) != now.get(name):
            yield describe_difference(name, before.get(name), now.get(name))


def excerpt(text: str, start: int = 0) -> str:
    """Return up to 80 characters of `text` from `start` on, as one line."""
    cut = text[start : start + 80]
    return one_line("…" * (start > 0) + cut + "…" * (start + 80 < len(text)))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


EXACT_FIELDS = (
    *("measurement", "revision", "method", "granularity", "changed", "requested", "protocol"),
    *("seed", "tasks", "tasks_sha256", "disjoint"),
)


def values(record: Record, again: Record) -> Iterator[Comparison]:
    """Compare the measured values, each within the tolerance of its metric."""
    yield Comparison("achieved", record.achieved, again.achieved, _bounds(ACHIEVED.tolerance))
    rows = [("", record.values, again.values)]
    if record.method != DENSE:
        rows.append(("dense ", record.dense.values, again.dense.values))
    if record.recovered is not None and again.recovered is not None:
        rows.append(("before recovery ", record.recovered.before, again.recovered.before))
    for prefix, before, now in rows:
        # Older records lack divergence and agreement, which have no ratio to dense.
        required = (name for name in now if metric(name).relative)
        for name in dict.fromkeys((*before, *required)):
            bounds = _bounds(metric(name).tolerance)
            dense = record.dense.values.get(name)
            if metric(name).kind in PERPLEXITIES and before.get(name) and dense:
                bounds = bounds._replace(wide=max(bounds.wide, tie(before[name] / dense)))
            yield Comparison(prefix + name, before.get(name), now.get(name), bounds)


def facts(record: Record, again: Record) -> Iterator[Comparison]:
    """Compare everything deterministic exactly, and `SENSITIVE` texts and details."""
    before, now = record.model_dump(mode="json"), again.model_dump(mode="json")
    for name in EXACT_FIELDS:
        yield Comparison(name, before[name], now[name], EXACT)
    hashes = [one.external and one.external.sha256 for one in (record, again)]
    yield Comparison("file of the method", hashes[0], hashes[1], EXACT)
    for name, value in before["configuration"].items():
        yield Comparison(f"configuration {name}", value, now["configuration"].get(name), EXACT)
    texts = zip_longest(before["texts"], now["texts"], fillvalue=dict[str, Any]())
    for number, (one, other) in enumerate(texts, 1):
        yield from _parts(f"text {number}", one, other, EXACT)
    ignored = {"device", "accelerator"} | ({"source", "name"} if moved(record, again) else set())
    models = [one.model.model_dump(mode="json", exclude=ignored) for one in (record, again)]
    yield from _parts("model", models[0], models[1], EXACT)
    for pair in ((before, now), (before["dense"], now["dense"])):
        if any("weights" not in one["footprint"] for one in pair):  # an older record
            for one in pair:
                one["footprint"].pop("weights", None)
    rows = [one["dense"]["footprint"] for one in (before, now)]
    yield from _parts("dense footprint", rows[0], rows[1], EXACT)
    bounds = EXACT if record.method == DENSE else COUNTS
    yield from _parts("footprint", before["footprint"], now["footprint"], bounds)
    for field in ("course", "recovered"):
        one, other = (_course(content.get(field)) for content in (before, now))
        for name in dict.fromkeys((*one, *other)):
            bounds = SENSITIVE if name == "losses" else EXACT
            yield Comparison(f"{field} {name}", one.get(name), other.get(name), bounds)
    for name in ("details", "warnings", "sample"):
        yield Comparison(name, before[name], now[name], SENSITIVE)
    if not timed_on_one_side(record, again):
        yield Comparison("speed", _timed(record), _timed(again), EXACT)
        yield Comparison("speed note", record.speed.note, again.speed.note, SENSITIVE)


def _course(training: dict[str, Any] | None) -> dict[str, Any]:
    """Return the course of a training without the values before it."""
    return {name: value for name, value in (training or {}).items() if name != "before"}


def derived(record: Record) -> Iterator[Comparison]:
    """Compare the fields that follow from other fields with what they should be."""
    prompt = record.protocol.generation.prompt
    labels = labels_of(record.values, record.dense.values, record.external)
    yield Comparison("labels", list(record.labels), list(labels), EXACT)
    yield Comparison("beginning of the sample", record.sample[: len(prompt)], prompt, EXACT)
    yield Comparison("time in the run's name", record.run[:16], time_of(record.date), EXACT)
    yield Comparison("name", record.name, name_of(record), EXACT)
    yield Comparison("command", _words(record.command), _words(command_of(record)), EXACT)
    if record.method == DENSE:
        row = record.dense.model_dump(mode="json")
        own = record.model_dump(mode="json", include=set(row))
        yield Comparison("dense row", row, own, EXACT)


def moved(record: Record, again: Record) -> bool:
    """Whether the model was loaded from another location than in the record."""
    return record.model.source != again.model.source


def timed_on_one_side(record: Record, again: Record) -> bool:
    """Whether only one of the two measured speed, and the note of the other says why not."""
    pair = (record, again)
    untimed = [one for one in pair if one.speed.note.startswith("not measured")]
    return (
        len(untimed) == 1
        and sorted(map(_timed, pair)) == [[False, False], [True, True]]
        and (_timed(untimed[0]) == [False, False])
    )


def _parts(
    prefix: str, before: dict[str, Any], now: dict[str, Any], bounds: Bounds
) -> Iterator[Comparison]:
    for name in dict.fromkeys((*before, *now)):
        yield Comparison(f"{prefix} {name}", before.get(name), now.get(name), bounds)


def _bounds(tolerance: Tolerance) -> Bounds:
    return Bounds(tolerance.same_machine, tolerance.elsewhere)


def _timed(record: Record) -> list[bool]:
    return [record.speed.prefill is not None, record.speed.decode is not None]


def _words(command: str) -> list[str]:
    """Split a command into words, without the task folder, whose location does not matter."""
    try:
        words = shlex.split(command)
    except ValueError:
        return [command]
    if "--task-folder" in words[:-1]:
        index = words.index("--task-folder")
        del words[index : index + 2]
    return words
