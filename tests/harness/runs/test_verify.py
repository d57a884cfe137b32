"""Verification: every part of a record is compared, or reported as not comparable."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from implementations.harness.prune.registry import get_method
from implementations.harness.results.protocol import Course
from implementations.harness.results.record import Record
from implementations.harness.results.store import load_record, published_folders, record_files
from implementations.harness.runs.job import Job, Setup
from implementations.harness.runs.record_checks import derived, values
from implementations.harness.runs.recording import command_of, name_of
from implementations.harness.runs.run import run
from implementations.harness.runs.verify import Verdict, compare, repeat, verify
from tests import keyed

METRIC = "ppl/evaluation/32"
DENSE = f"dense {METRIC}"
BESIDE_DENSE = ("kl/evaluation/32", "agreement/evaluation/32")
FACTORS = {"a hair": 1 + 2e-7, "a little": 1.002, "much": 1.1}  # 1e-6 here, 1e-2 elsewhere

# Fields that a repetition cannot check or that do not affect the values: reported, never off.
REPORTED = (
    "schema_version",
    "seconds",
    "peak",
    "versions",
    "hardware cores",
    "hardware memory",
    "hardware system",
    "commit",
    "dirty",
    "speed prefill",
    "speed decode",
)


@pytest.fixture(scope="module")
def pair(setup: Setup, tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, Record]:
    """Return the record of a structured run and its repetition."""
    job = Job(get_method("flap").configure(sparsity=0.3, compensate=False), 1)
    record = run(job, setup, runs=tmp_path_factory.mktemp("pair")).record
    return record, repeat(record)


@pytest.fixture(scope="module")
def dense(setup: Setup, tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, Record]:
    """Return the record of the dense model and its repetition."""
    record = run(Job(None), setup, runs=tmp_path_factory.mktemp("dense")).record
    return record, repeat(record)


def off(verdict: Verdict) -> list[str]:
    return [one.name for one in verdict.comparisons if one.grade == "off"]


def changed(record: Record, **changes: Any) -> Record:
    return record.model_copy(update=changes)


def elsewhere(record: Record) -> Record:
    return changed(record, hardware=record.hardware.model_copy(update={"cpu": "another"}))


@pytest.mark.parametrize("which", ["pair", "dense"])
def test_repetition_confirms_a_record(which: str, request):
    verdict = compare(*request.getfixturevalue(which))
    assert (verdict.confirmed, verdict.agrees, verdict.same_machine) == ("narrow", True, True)
    assert verdict.elsewhere == verdict.changes == ()
    assert all(one.difference == 0 for one in verdict.comparisons)
    numbers = {one.name for one in verdict.comparisons if one.measured}
    assert numbers == {"achieved", METRIC, *((DENSE, *BESIDE_DENSE) if which == "pair" else ())}
    assert json.loads(json.dumps(verdict.to_dict(), allow_nan=False))["confirmed"] == "narrow"


def test_older_record_without_divergence_is_confirmed(pair):
    record, again = pair
    values = {name: value for name, value in record.values.items() if name not in BESIDE_DENSE}
    assert compare(changed(record, values=values), again).confirmed == "narrow"


def test_course_of_a_training_must_be_the_same(pair):
    record, again = pair
    course = Course(steps=4, read=64, epochs=0.5, losses=(2.0, 1.0))
    assert compare(*(changed(one, course=course) for one in pair)).confirmed == "narrow"
    assert "course steps" in off(compare(changed(record, course=course), again))


def test_repetition_confirms_a_record_with_a_pattern(setup: Setup, tmp_path):
    job = Job(get_method("wanda").configure(pattern="1:4"))
    assert verify(run(job, setup, runs=tmp_path).record).confirmed == "narrow"


@pytest.mark.parametrize(
    ("factor", "here", "there"),
    [("a hair", "narrow", "narrow"), ("a little", "no", "wide"), ("much", "no", "no")],
)
def test_value_must_be_within_the_tolerance(pair, factor: str, here: str, there: str):
    record, again = pair
    values = {METRIC: record.values[METRIC] * FACTORS[factor]}
    forged = changed(record, values=values)
    assert compare(forged, again).confirmed == here
    verdict = compare(elsewhere(forged), again)
    assert verdict.confirmed == there
    assert verdict.elsewhere[0].startswith('cpu: "another" in the record')
    assert verdict.to_dict()["elsewhere"] == list(verdict.elsewhere)


def test_wide_tolerance_grows_with_the_damage(pair):
    record, again = pair
    for ratio, grade in ((1.5, "off"), (30, "wide")):
        dense = record.values[METRIC] / ratio
        row = record.dense.model_copy(update={"values": record.dense.values | {METRIC: dense}})
        forged = changed(record, dense=row, values={METRIC: record.values[METRIC] * 1.08})
        (found,) = (one for one in values(forged, again) if one.name == METRIC)
        assert found.grade == grade


def test_claiming_another_machine_only_allows_the_wide_tolerance(pair):
    """The verdict then says that the wide tolerance was needed."""
    record, again = pair
    assert compare(elsewhere(record), again).confirmed == "narrow"
    text = changed(record, sample=record.protocol.generation.prompt + " something else")
    assert compare(text, again).confirmed == "no"
    assert compare(elsewhere(text), again).confirmed == "wide"
    verdict = compare(changed(text, processes=4), again)  # their sums are rounded differently
    assert verdict.confirmed == "wide"
    assert verdict.elsewhere == ("processes: 4 in the record, 1 now",)
    versions = record.versions | {"torch": "1.0"}
    verdict = compare(changed(text, versions=versions), again)
    assert verdict.confirmed == "wide"
    assert 'torch: "1.0' in verdict.elsewhere[0]


@pytest.mark.parametrize("values", [{}, {METRIC: None, "acc/unknown": 0.5}, {METRIC: None}])
def test_value_missing_on_either_side_is_off(pair, values: dict[str, Any]):
    record, again = pair
    values = {METRIC: record.values[METRIC]} | values
    forged = changed(record, values={n: v for n, v in values.items() if v is not None})
    missing = {n for n in {*values, METRIC} if (n in again.values) != (n in forged.values)}
    for verdict in (compare(forged, again), compare(elsewhere(forged), again)):
        assert verdict.confirmed == ("no" if missing else "narrow")
        assert set(off(verdict)) == missing
    without_dense = changed(record, dense=record.dense.model_copy(update={"values": {}}))
    assert off(compare(without_dense, again)) == [DENSE]


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every leaf of a JSON value."""
    if isinstance(value, dict | list) and value:
        for step, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*path, step))
    else:
        yield path


def forge(value: Any) -> Any:
    """Return a different value of the same kind."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1 if isinstance(value, int) or value > 1 else value / 2
        case str() if value.startswith("20") and value.endswith("Z"):
            return value.replace("20", "21", 1)
        case str() if len(value) >= 40 and not set(value) - set("0123456789abcdef"):
            return value[::-1]
        case str():
            return value[:-1] + ("2" if value[-1:] != "2" else "3")
        case None:
            return "1" * 40
        case [] | {}:
            return value
    raise AssertionError(value)


def with_forged(record: Record, path: tuple[Any, ...]) -> Record | None:
    """Return the record with another value at `path`; None if that is not a valid record."""
    content = json.loads(record.to_json())
    *parents, last = path
    inner = content
    for step in parents:
        inner = inner[step]
    if inner[last] == forge(inner[last]) or last == "key":  # a forged key is never valid
        return None
    inner[last] = forge(inner[last])
    try:
        return Record.model_validate_json(json.dumps(keyed.rekeyed(content)))
    except ValueError:
        return None


def reported(verdict: Verdict) -> tuple[Any, ...]:
    return verdict.elsewhere, verdict.changes, verdict.not_compared


@pytest.mark.parametrize("which", ["pair", "dense"])
def test_every_forged_field_is_off_or_reported(which: str, request):
    """Forge every leaf of the record in turn, which includes fields added later."""
    record, again = request.getfixturevalue(which)
    plain, tried = compare(record, again), 0
    for path in leaves(json.loads(record.to_json())):
        forged = with_forged(record, path)
        if forged is None:
            continue
        tried += 1
        verdict, name = compare(forged, again), " ".join(map(str, path))
        if name.startswith(REPORTED):
            assert verdict.agrees, name
            if name.startswith(("versions", "hardware", "commit")):
                assert reported(verdict) != reported(plain), name
        elif name == "dense run" and which == "pair":
            assert any(forged.dense.run in line for line in verdict.not_compared)
        elif name == "run" and which == "pair":
            assert verdict.not_compared[0].startswith("date and name of the run")
        elif name.startswith("hardware"):
            assert verdict.elsewhere, name
        else:
            assert verdict.confirmed == "no", name
    assert tried > 80


ANOTHER_REQUEST = {
    "seed": lambda record: {"seed": 2},
    "share": lambda record: {"configuration": record.configuration | {"sparsity": 0.5}},
    "setting": lambda record: {"configuration": record.configuration | {"compensate": True}},
    "method": lambda record: {"method": "magnitude", "configuration": {"sparsity": 0.3}},
    "dtype": lambda record: {"model": record.model.model_copy(update={"dtype": "bfloat16"})},
    "windows": lambda record: {
        "protocol": record.protocol.model_copy(
            update={
                "evaluations": (record.protocol.evaluations[0].model_copy(update={"windows": 3}),)
            }
        )
    },
}


@pytest.mark.parametrize("change", ANOTHER_REQUEST.values(), ids=ANOTHER_REQUEST)
def test_result_of_another_request_is_off(pair, change: Callable[[Record], dict[str, Any]]):
    """Even if key, name and command are consistent and the record claims another machine."""
    record, _ = pair
    forged = keyed.changed(elsewhere(record), changed=(), **change(record))
    forged = changed(forged, name=name_of(forged), command=command_of(forged))
    verdict = verify(forged)
    assert verdict.confirmed == "no"
    assert not {"name", "command"} & set(off(verdict))


@pytest.mark.parametrize("part", ["texts", "values", "details"])
def test_missing_part_is_off(pair, part: str):
    record, again = pair
    assert not compare(changed(record, **{part: type(getattr(record, part))()}), again).agrees


def test_speed_is_reported_but_not_compared(pair):
    record, again = pair
    decode = record.speed.decode.model_copy(update={"ratio": 10.0, "high": 10.0})
    speed = record.speed.model_copy(update={"decode": decode})
    lines = compare(changed(record, speed=speed), again).not_compared
    assert any(line.startswith("speed, decode: 10 times dense in the record") for line in lines)


@pytest.mark.parametrize("note", ["no speed-up expected on dense kernels", "not measured: no room"])
def test_missing_speed_needs_a_note_that_it_was_not_measured(pair, note: str):
    record, again = pair
    untimed = record.speed.model_copy(update={"note": note, "prefill": None, "decode": None})
    verdict = compare(changed(record, speed=untimed), again)
    assert verdict.agrees == note.startswith("not measured")
    assert compare(again, changed(record, speed=untimed)).agrees == verdict.agrees
    contradiction = record.speed.model_copy(update={"note": note})
    assert not compare(changed(record, speed=contradiction), again).agrees


@pytest.mark.parametrize("streamed", [False, True])
def test_given_device_replaces_the_recorded_accelerator(pair, streamed: bool, monkeypatch):
    class Asked(Exception):
        pass

    def ask(setup: Setup) -> None:
        assert (setup.device, setup.accelerator, setup.stream) == ("cpu", None, streamed)
        raise Asked

    monkeypatch.setattr("implementations.harness.runs.verify.Workbench", ask)
    recorded = {"device": "cpu", "accelerator": "cuda", "streamed": streamed}
    record = changed(pair[0], model=pair[0].model.model_copy(update=recorded))
    with pytest.raises(Asked):
        repeat(record, device="cpu")


def test_other_location_of_the_model_is_reported(pair):
    record, again = pair
    copy = again.model.model_copy(update={"source": "/there", "name": "there"})
    verdict = compare(record, changed(again, model=copy))
    assert verdict.confirmed == "narrow"
    assert any(line.startswith("model source") for line in verdict.changes)
    other = copy.model_copy(update={"sha256": "1" * 64})
    assert off(compare(record, changed(again, model=other))) == ["model sha256"]


def test_changed_protocol_of_a_built_in_name_is_reported(made_up: Callable[..., Record]):
    record = made_up()
    assert not any("protocol" in line for line in compare(record, record).changes)
    protocol = record.protocol.model_copy(update={"dtype": "bfloat16"})
    other = changed(record, protocol=protocol)
    assert any("protocol smol" in line for line in compare(other, other).changes)


def test_derived_fields_of_published_records_are_correct():
    for folder in published_folders():
        for path in record_files(folder):
            for one in derived(load_record(path)):
                assert one.difference == 0, (path, str(one))
