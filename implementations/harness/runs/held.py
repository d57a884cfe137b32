"""What of a record is held against its repetition and against itself, each part by its bounds."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from implementations.harness.results.comparison import COUNTED, EXACT, FOLLOWS, Comparison, Held
from implementations.harness.results.metric import ACHIEVED, Tolerance, metric
from implementations.harness.results.record import DENSE, Record
from implementations.harness.runs.recording import command_of, labels_of, name_of, time_of

ASKED = (
    *("method", "granularity", "changed", "asked", "protocol", "seed", "tasks", "tasks_sha256"),
    "disjoint",
)


def values(record: Record, again: Record) -> Iterator[Comparison]:
    """What was measured, by the tolerance that its metric has in the code."""
    yield Comparison("achieved", record.achieved, again.achieved, _held(ACHIEVED.tolerance))
    rows = [("", record.values, again.values)]
    if record.method != DENSE:
        rows.append(("dense ", record.dense.values, again.dense.values))
    if record.recovered is not None and again.recovered is not None:
        rows.append(("before recovery ", record.recovered.before, again.recovered.before))
    for word, before, now in rows:
        for name in dict.fromkeys((*before, *now)):
            held = _held(metric(name).tolerance)
            yield Comparison(word + name, before.get(name), now.get(name), held)


def facts(record: Record, again: Record) -> Iterator[Comparison]:
    """What is equal wherever the same is run, and what follows from the last bits."""
    before, now = record.model_dump(mode="json"), again.model_dump(mode="json")
    for name in ASKED:
        yield Comparison(name, before[name], now[name], EXACT)
    for name, value in before["configuration"].items():
        yield Comparison(f"configuration {name}", value, now["configuration"].get(name), EXACT)
    texts = zip_longest(before["texts"], now["texts"], fillvalue=dict[str, Any]())
    for number, (one, other) in enumerate(texts, 1):
        yield from _parts(f"text {number}", one, other, EXACT)
    told = {"device", "accelerator"} | ({"source", "name"} if moved(record, again) else set())
    models = [one.model.model_dump(mode="json", exclude=told) for one in (record, again)]
    yield from _parts("model", models[0], models[1], EXACT)
    rows = [one["dense"]["footprint"] for one in (before, now)]
    yield from _parts("dense footprint", rows[0], rows[1], EXACT)
    counted = EXACT if record.method == DENSE else COUNTED
    yield from _parts("footprint", before["footprint"], now["footprint"], counted)
    courses = [_course(one) for one in (before, now)]
    for name in dict.fromkeys((*courses[0], *courses[1])):
        held = FOLLOWS if name == "losses" else EXACT
        yield Comparison(f"recovered {name}", courses[0].get(name), courses[1].get(name), held)
    for name in ("details", "warnings", "sample"):
        yield Comparison(name, before[name], now[name], FOLLOWS)
    if not room_for_one(record, again):
        yield Comparison("speed", _speed(record), _speed(again), EXACT)
        yield Comparison("speed note", record.speed.note, again.speed.note, FOLLOWS)


def _course(record: dict[str, Any]) -> dict[str, Any]:
    """A recovery as it went, without the values before it."""
    found = record.get("recovered") or {}
    return {name: value for name, value in found.items() if name != "before"}


def derived(record: Record) -> Iterator[Comparison]:
    """What follows from the rest of the record."""
    prompt = record.protocol.generation.prompt
    labels = labels_of(record.values, record.dense.values)
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
    """Whether the model was taken from another place than the record names."""
    return record.model.source != again.model.source


def room_for_one(record: Record, again: Record) -> bool:
    """Whether speed was measured in one of them, and the other says why it could not be."""
    pair = (record, again)
    untimed = [one for one in pair if one.speed.note.startswith("not measured")]
    return (
        len(untimed) == 1
        and sorted(map(_speed, pair)) == [[False, False], [True, True]]
        and (_speed(untimed[0]) == [False, False])
    )


def _parts(
    whole: str, before: dict[str, Any], now: dict[str, Any], held: Held
) -> Iterator[Comparison]:
    for name in dict.fromkeys((*before, *now)):
        yield Comparison(f"{whole} {name}", before.get(name), now.get(name), held)


def _held(tolerance: Tolerance) -> Held:
    return Held(tolerance.same_machine, tolerance.elsewhere)


def _speed(record: Record) -> list[bool]:
    return [record.speed.prefill is not None, record.speed.decode is not None]


def _words(command: str) -> list[str]:
    """The words of a command without the folder of tasks, which may lie anywhere."""
    try:
        words = shlex.split(command)
    except ValueError:
        return [command]
    if "--task-folder" in words[:-1]:
        place = words.index("--task-folder")
        del words[place : place + 2]
    return words
