"""A record is held against its repetition in every part, and what cannot be held is said."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from implementations.harness.prune.registry import get
from implementations.harness.results.metric import PERPLEXITY
from implementations.harness.results.record import Record
from implementations.harness.results.store import load_record, published_folders, record_files
from implementations.harness.runs.held import derived
from implementations.harness.runs.job import Job, Setup
from implementations.harness.runs.recording import command_of, name_of
from implementations.harness.runs.run import run
from implementations.harness.runs.verify import Verdict, compare, repeat, verify
from tests import keyed

METRIC = "ppl/evaluation/32"
DENSE = f"dense {METRIC}"
FACTORS = {"a hair": 1.00002, "a little": 1.002, "much": 1.1}  # 1e-4 here, 1e-2 elsewhere

# What one run cannot show of another, and what decides nothing: told, and no reason to fail.
TOLD = (
    "schema_version",
    "seconds",
    "peak",
    "versions",
    "hardware memory",
    "hardware system",
    "commit",
    "dirty",
    "tolerance",
    "speed prefill",
    "speed decode",
)


@pytest.fixture(scope="module")
def pair(setup: Setup, tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, Record]:
    """The record of a structured run, and its repetition."""
    job = Job(get("flap").configure(sparsity=0.3, compensate=False), 1)
    record = run(job, setup, runs=tmp_path_factory.mktemp("pair")).record
    return record, repeat(record)


@pytest.fixture(scope="module")
def dense(setup: Setup, tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, Record]:
    """The record of the dense model, and its repetition."""
    record = run(Job(None), setup, runs=tmp_path_factory.mktemp("dense")).record
    return record, repeat(record)


def off(verdict: Verdict) -> list[str]:
    return [one.name for one in verdict.comparisons if one.grade == "off"]


def changed(record: Record, **changes: Any) -> Record:
    return record.model_copy(update=changes)


def elsewhere(record: Record) -> Record:
    return changed(record, hardware=record.hardware.model_copy(update={"cpu": "another"}))


@pytest.mark.parametrize("which", ["pair", "dense"])
def test_a_record_is_confirmed_by_running_it_again(which: str, request):
    verdict = compare(*request.getfixturevalue(which))
    assert (verdict.confirmed, verdict.agrees, verdict.same_machine) == ("narrow", True, True)
    assert verdict.elsewhere == verdict.changes == ()
    assert all(one.difference == 0 for one in verdict.comparisons)
    numbers = {one.name for one in verdict.comparisons if one.measured}
    assert numbers == {"achieved", METRIC, *([DENSE] if which == "pair" else [])}
    assert json.loads(json.dumps(verdict.to_dict(), allow_nan=False))["confirmed"] == "narrow"


def test_patterns_are_confirmed_too(setup: Setup, tmp_path):
    job = Job(get("wanda").configure(pattern="1:4"))
    assert verify(run(job, setup, runs=tmp_path).record).confirmed == "narrow"


@pytest.mark.parametrize(
    ("factor", "here", "there"),
    [("a hair", "narrow", "narrow"), ("a little", "no", "wide"), ("much", "no", "no")],
)
def test_the_code_says_how_far_off_a_value_may_be(pair, factor: str, here: str, there: str):
    record, again = pair
    values = {METRIC: record.values[METRIC] * FACTORS[factor]}
    forged = changed(record, values=values)
    assert compare(forged, again).confirmed == here
    verdict = compare(elsewhere(forged), again)
    assert verdict.confirmed == there
    assert verdict.elsewhere[0].startswith('cpu: "another" in the record')
    assert verdict.to_dict()["elsewhere"] == list(verdict.elsewhere)


def test_a_claim_to_be_of_elsewhere_makes_no_verdict_better(pair):
    """It lets the wide tolerance do, and the verdict says that it was needed."""
    record, again = pair
    assert compare(elsewhere(record), again).confirmed == "narrow"
    text = changed(record, sample=record.protocol.generation.prompt + " something else")
    assert compare(text, again).confirmed == "no"
    assert compare(elsewhere(text), again).confirmed == "wide"
    versions = record.versions | {"torch": "1.0"}
    verdict = compare(changed(text, versions=versions), again)
    assert verdict.confirmed == "wide"
    assert 'torch: "1.0' in verdict.elsewhere[0]


def test_a_tolerance_in_the_record_is_not_believed_but_told(pair):
    record, again = pair
    wide = PERPLEXITY.tolerance.model_copy(update={"same_machine": 1e9})
    forged = changed(record, tolerance={"ppl": wide}, values={METRIC: 1.1 * record.values[METRIC]})
    verdict = compare(forged, again)
    assert off(verdict) == [METRIC]
    assert any("tolerance of ppl" in line and "which counts" in line for line in verdict.changes)


@pytest.mark.parametrize("values", [{}, {METRIC: None, "acc/unknown": 0.5}, {METRIC: None}])
def test_a_value_that_either_side_lacks_is_off(pair, values: dict[str, Any]):
    record, again = pair
    values = {METRIC: record.values[METRIC]} | values
    forged = changed(record, values={n: v for n, v in values.items() if v is not None})
    missing = {n for n in {*values, METRIC} if (n in again.values) != (n in forged.values)}
    for verdict in (compare(forged, again), compare(elsewhere(forged), again)):
        assert verdict.confirmed == ("no" if missing else "narrow")
        assert set(off(verdict)) == missing
    beside = changed(record, dense=record.dense.model_copy(update={"values": {}}))
    assert off(compare(beside, again)) == [DENSE]


def leaves(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of everything in a record that holds nothing else."""
    if isinstance(value, dict | list) and value:
        for step, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*place, step))
    else:
        yield place


def forge(value: Any) -> Any:
    """Something else of the same kind, which a record may hold as well."""
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


def with_forged(record: Record, place: tuple[Any, ...]) -> Record | None:
    """The record with another value at `place`; None where no record can have it there."""
    content = json.loads(record.to_json())
    *way, last = place
    inner = content
    for step in way:
        inner = inner[step]
    if inner[last] == forge(inner[last]) or last == "key":  # which no record has but its own
        return None
    inner[last] = forge(inner[last])
    try:
        return Record.model_validate_json(json.dumps(keyed.rekeyed(content)))
    except ValueError:
        return None


def said_of(verdict: Verdict) -> tuple[Any, ...]:
    return verdict.elsewhere, verdict.changes, verdict.not_compared


@pytest.mark.parametrize("which", ["pair", "dense"])
def test_whatever_is_forged_is_off_or_told(which: str, request):
    """Every leaf of the record in turn, so that a new field is not forgotten either."""
    record, again = request.getfixturevalue(which)
    plain, tried = compare(record, again), 0
    for place in leaves(json.loads(record.to_json())):
        forged = with_forged(record, place)
        if forged is None:
            continue
        tried += 1
        verdict, name = compare(forged, again), " ".join(map(str, place))
        if name.startswith(TOLD):
            assert verdict.agrees, name
            if name.startswith(("versions", "hardware", "commit", "tolerance")):
                assert said_of(verdict) != said_of(plain), name
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
def test_the_result_of_another_request_is_off(pair, change: Callable[[Record], dict[str, Any]]):
    """Also with key, name and command made to fit, and from another machine."""
    record, _ = pair
    forged = keyed.changed(elsewhere(record), changed=(), **change(record))
    forged = changed(forged, name=name_of(forged), command=command_of(forged))
    verdict = verify(forged)
    assert verdict.confirmed == "no"
    assert not {"name", "command"} & set(off(verdict))


@pytest.mark.parametrize("part", ["texts", "values", "details"])
def test_what_is_left_out_is_off(pair, part: str):
    record, again = pair
    assert not compare(changed(record, **{part: type(getattr(record, part))()}), again).agrees


def test_speed_is_told_and_not_believed(pair):
    record, again = pair
    decode = record.speed.decode.model_copy(update={"ratio": 10.0, "high": 10.0})
    speed = record.speed.model_copy(update={"decode": decode})
    told = compare(changed(record, speed=speed), again).not_compared
    assert any(line.startswith("speed, decode: 10 times dense in the record") for line in told)


@pytest.mark.parametrize("note", ["no speed-up expected on dense kernels", "not measured: no room"])
def test_speed_is_there_where_it_is_measured(pair, note: str):
    record, again = pair
    silent = record.speed.model_copy(update={"note": note, "prefill": None, "decode": None})
    verdict = compare(changed(record, speed=silent), again)
    assert verdict.agrees == note.startswith("not measured")
    assert compare(again, changed(record, speed=silent)).agrees == verdict.agrees
    talking = record.speed.model_copy(update={"note": note})
    assert not compare(changed(record, speed=talking), again).agrees


def test_a_model_from_another_place_is_told(pair):
    record, again = pair
    there = again.model.model_copy(update={"source": "/there", "name": "there"})
    verdict = compare(record, changed(again, model=there))
    assert verdict.confirmed == "narrow"
    assert any(line.startswith("model source") for line in verdict.changes)
    other = there.model_copy(update={"sha256": "1" * 64})
    assert off(compare(record, changed(again, model=other))) == ["model sha256"]


def test_a_protocol_that_only_has_a_known_name_is_told(made_up: Callable[..., Record]):
    record = made_up()
    assert not any("protocol" in line for line in compare(record, record).changes)
    protocol = record.protocol.model_copy(update={"dtype": "bfloat16"})
    other = changed(record, protocol=protocol)
    assert any("protocol smol" in line for line in compare(other, other).changes)


def test_published_records_are_what_follows_from_them():
    for folder in published_folders():
        for path in record_files(folder):
            for one in derived(load_record(path)):
                assert one.difference == 0, (path, str(one))
