"""What a run read is written down, the text to train on included, and decides its key."""

from __future__ import annotations

from implementations.harness.results.protocol import get_protocol
from implementations.harness.results.store import load_record
from implementations.harness.runs.run import run
from implementations.harness.runs.workbench import Job, Setup, Workbench
from tests.harness.contract.toys import First, Trained

METRIC = "ppl/evaluation/32"


def training_on(world, name: str, length: int) -> Setup:
    asked = {"text": str(world.calibration), "length": length}
    return Setup(str(world.model), get_protocol(str(world.write_protocol(name, training=asked))))


def test_a_record_says_what_was_trained_on(world, tmp_path):
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


def test_a_record_of_a_method_that_does_not_train_does_not_mention_it(world, tmp_path):
    record = run(Job(First()), training_on(world, "untrained", 64), runs=tmp_path).record
    assert [text.role for text in record.texts] == ["calibration", METRIC]
    assert "training" not in record.disjoint


def test_only_a_method_that_trains_has_another_key_for_another_text(world):
    benches = [Workbench(training_on(world, "keys", length)) for length in (32, 64)]
    for job, differ in ((Job(Trained()), True), (Job(First()), False), (Job(None), False)):
        first, second = (bench.key(job) for bench in benches)
        assert (first != second) is differ
