"""Recording of the texts of a run, and names and commands of records."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pydantic import TypeAdapter

from implementations.harness.results.protocol import get_protocol
from implementations.harness.results.reading import LONGEST_NAME, FileName
from implementations.harness.results.record import Record
from implementations.harness.results.store import load_record
from implementations.harness.runs.job import Job, Setup
from implementations.harness.runs.recording import command_of, name_of
from implementations.harness.runs.run import run
from implementations.harness.runs.workbench import Workbench
from tests.harness.contract.toys import First, Trained

LETTERS = TypeAdapter(FileName)
METRIC = "ppl/evaluation/32"


def training_on(world, name: str, length: int) -> Setup:
    asked = {"text": str(world.calibration), "length": length}
    return Setup(str(world.model), get_protocol(str(world.write_protocol(name, training=asked))))


def test_record_describes_the_training_text(world, tmp_path):
    setup = training_on(world, "trained", 64)
    written = run(Job(Trained(steps=1), 7), setup, runs=tmp_path)
    record = load_record(written.path)
    calibration, training, evaluation = record.texts
    assert [t.role for t in record.texts] == ["calibration", "training", METRIC]
    assert (training.source, training.length) == (str(world.calibration), 64)
    assert training.text_sha256 == calibration.text_sha256 != evaluation.text_sha256
    assert training.spans == ((0, training.samples * 64),)
    assert f"training: {METRIC}: another text" in record.disjoint
    assert record.configuration["steps"] == 1


def test_record_without_training_omits_the_training_text(world, tmp_path):
    record = run(Job(First()), training_on(world, "untrained", 64), runs=tmp_path).record
    assert [text.role for text in record.texts] == ["calibration", METRIC]
    assert "training" not in record.disjoint


def test_key_depends_on_the_training_text_only_if_the_method_trains(world):
    benches = [Workbench(training_on(world, "keys", length)) for length in (32, 64)]
    for job, differ in ((Job(Trained()), True), (Job(First()), False), (Job(None), False)):
        first, second = (bench.key(job) for bench in benches)
        assert (first != second) is differ


def of_model(record: Record, name: str) -> Record:
    return record.model_copy(update={"model": record.model.model_copy(update={"name": name})})


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("smollm2-135m", "smollm2-135m-s0.5-seed0"),
        ("org/Model 7B", "org-model-7b-s0.5-seed0"),
        (".hid", "hid-s0.5-seed0"),
        ("...", "model-s0.5-seed0"),
        ("-.-", "model-s0.5-seed0"),
        ("_x.", "_x.-s0.5-seed0"),
        ("大", "model-s0.5-seed0"),
        ("größe", "gr-e-s0.5-seed0"),
    ],
)
def test_record_name_is_a_valid_file_name_for_any_model(made_up, model: str, name: str):
    assert name_of(of_model(made_up(), model)) == LETTERS.validate_python(name)


def test_long_record_name_ends_in_a_hash(made_up: Callable[..., Record]):
    names = [name_of(of_model(made_up(), "x" * length)) for length in (300, 301)]
    for name in names:
        assert len(LETTERS.validate_python(name)) == LONGEST_NAME
    assert names[0] != names[1]
    just = name_of(of_model(made_up(), "x" * (LONGEST_NAME - len("-s0.5-seed0"))))
    assert just.endswith("x-s0.5-seed0")


def test_command_contains_all_settings_of_the_record(made_up: Callable[..., Record]):
    model = made_up().model.model_copy(
        update={"source": "my model", "dtype": "bfloat16", "accelerator": "cuda"}
    )
    settings = {"damping": 0.1, "within": "row", "power": None}
    record = made_up(
        model=model,
        configuration={"sparsity": 0.5, "pattern": "2:4", **settings},
        changed=tuple(settings),
        tasks=("arc_easy",),
    )
    assert command_of(record, "my tasks") == (
        "atlas run wanda --pattern 2:4 --set damping=0.1 --set within=row --set power=none "
        "--protocol smol --model 'my model' --dtype bfloat16 --device cpu --accelerator cuda "
        "--tasks arc_easy --task-folder 'my tasks' --seed 0"
    )
