"""Runs with fine-tuning: values before and after, and a dense model with the same fine-tuning."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
import yaml

from implementations.harness.errors import BadInput
from implementations.harness.prune.registry import get_method
from implementations.harness.results.boards import boards
from implementations.harness.results.protocol import Recovery, get_protocol
from implementations.harness.results.store import load_record, load_records
from implementations.harness.runs.job import Job, Setup
from implementations.harness.runs.run import run
from implementations.harness.runs.sweep import sweep
from implementations.harness.runs.verify import verify
from implementations.harness.runs.workbench import Workbench

METRIC = "ppl/evaluation/32"
ways = pytest.mark.parametrize("how", ["lora", "full", "distill"])


@pytest.fixture(scope="module")
def protocol(world, tmp_path_factory) -> Path:
    """Return the tiny protocol with a training text."""
    content = yaml.safe_load(world.protocol.read_text())
    content["training"] = {"text": content["calibration"]["text"], "length": 32}
    path = tmp_path_factory.mktemp("training") / "tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def setup(world, protocol) -> Setup:
    return Setup(model=str(world.model), protocol=get_protocol(str(protocol)))


def asked(how: str, steps: int = 6) -> Recovery:
    rate = {"lora": 1e-2, "full": 1e-3, "distill": 1e-3}[how]
    return Recovery.by(how, steps * 64).model_copy(update={"rate": rate, "step": 64})


def job(slug: str, how: str, seed: int = 0, **settings) -> Job:
    return Job(get_method(slug).configure(**settings), seed, asked(how))


@pytest.mark.parametrize(("slug", "how"), [("flap", "lora"), ("wanda", "full")])
def test_record_has_values_before_and_after_fine_tuning(setup, tmp_path, slug: str, how: str):
    plain = run(
        Job(get_method(slug).configure(sparsity=0.3), 1), setup, runs=tmp_path / "plain"
    ).record
    record = run(job(slug, how, 1, sparsity=0.3), setup, runs=tmp_path).record
    assert record.recovered is not None
    assert record.recovered.before == plain.values
    assert record.values[METRIC] < plain.values[METRIC]
    assert record.key != plain.key
    assert record.achieved == plain.achieved
    assert record.footprint.parameters == plain.footprint.parameters
    assert abs(record.footprint.nonzero - plain.footprint.nonzero) <= 2
    assert (record.recovered.steps, record.recovered.read) == (6, 6 * 64)
    assert len(record.recovered.losses) == 6
    assert {"prune", "evaluate before", "recover", "evaluate"} <= record.seconds.keys()
    assert record.name == f"tiny-s0.3-{how}384-seed1"
    assert f"--recover {how} --tokens 384" in record.command
    assert {text.role for text in record.texts} == {"calibration", "training", METRIC}


def test_dense_model_has_the_same_fine_tuning(setup, tmp_path):
    record = run(job("flap", "lora", 3, sparsity=0.3), setup, runs=tmp_path).record
    dense = load_record(tmp_path / "tiny/dense/tiny-dense-lora384-seed3.json")
    assert record.dense.run == dense.run
    assert record.dense.values == dense.values
    assert dense.recovered is not None
    assert dense.recovered.recovery == asked("lora")
    assert dense.values[METRIC] < dense.recovered.before[METRIC]
    again = run(Job(None, 3, asked("lora")), setup, runs=tmp_path).record
    assert again == dense  # loaded, not measured again


def test_distillation_compares_with_the_dense_model_itself(setup, tmp_path):
    record = run(job("flap", "distill", sparsity=0.3), setup, runs=tmp_path).record
    divergence = METRIC.replace("ppl", "kl")
    assert record.values[divergence] < record.recovered.before[divergence]
    assert "after distillation on 384 tokens" in boards([record])[0].title
    (dense,) = load_records([tmp_path / "tiny" / "dense"])
    assert dense.recovered is None
    assert record.dense.run == dense.run


def test_boards_separate_results_with_and_without_fine_tuning(setup, tmp_path):
    for one in (
        Job(get_method("flap").configure(sparsity=0.3)),
        job("flap", "lora", sparsity=0.3),
        job("wanda", "lora"),
        job("wanda", "full"),
    ):
        run(one, setup, runs=tmp_path)
    result = {
        board.recovery: sorted(row.method for row in board.rows)
        for board in boards(load_records([tmp_path]))
    }
    assert result == {
        None: ["flap"],
        asked("lora"): ["flap", "wanda"],
        asked("full"): ["wanda"],
    }
    after = next(b for b in boards(load_records([tmp_path])) if b.recovery == asked("lora"))
    assert "after LoRA on 384 tokens" in after.title
    assert "lora" in after.place
    (flap,) = (row for row in after.rows if row.method == "flap")
    before, ratio = flap.before(METRIC), flap.ratio(METRIC)
    assert before is not None
    assert ratio is not None
    assert before.mean == flap.first.recovered.before[METRIC]
    assert ratio.mean == pytest.approx(flap.first.values[METRIC] / after.dense.values[METRIC])


def test_warns_if_whole_steps_need_more_tokens_than_requested(setup, tmp_path):
    warning = (
        "--tokens 100: recovery reads 128 tokens, because it trains in whole steps of 64 tokens"
    )
    recovery = asked("lora").model_copy(update={"tokens": 100})
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as a FutureWarning of transformers that peft causes
        record = run(
            Job(get_method("flap").configure(sparsity=0.3), 0, recovery), setup, runs=tmp_path
        )
    assert record.record.warnings == (warning,)
    (dense,) = load_records([tmp_path / "tiny" / "dense"])
    assert dense.warnings == (warning,)
    exact = run(Job(None, 0, asked("lora")), setup, runs=tmp_path).record
    assert exact.warnings == ()


@ways
def test_verify_confirms_a_fine_tuned_record(setup, tmp_path, how: str):
    record = run(job("flap", how, sparsity=0.3), setup, runs=tmp_path).record
    assert verify(record).agrees
    recovered = record.recovered.model_copy(update={"before": {METRIC: 1.0}})
    assert not verify(record.model_copy(update={"recovered": recovered})).agrees


def test_sweep_fine_tunes_the_dense_model_once_per_seed(setup, tmp_path):
    jobs = [job(slug, "lora", seed, sparsity=0.3) for slug in ("flap", "random") for seed in (0, 1)]
    done = sweep(jobs, setup, runs=tmp_path)
    assert not done.failures
    dense = {record.seed: record for record in load_records([tmp_path / "tiny" / "dense"])}
    assert sorted(dense) == [0, 1]
    for record in done.records:
        assert record.dense.run == dense[record.seed].run
    assert sweep(jobs, setup, runs=tmp_path).skipped == 4


def test_refuses_impossible_fine_tuning_before_any_work(setup, world):
    with pytest.raises(BadInput, match="--recover cannot be used with griffin"):
        Workbench(setup).prepare(
            Job(get_method("griffin").configure(sparsity=0.2), 0, asked("lora"))
        )
    with pytest.raises(BadInput, match="--recover cannot be used with pbs2p"):
        Workbench(setup).prepare(Job(get_method("pbs2p").configure(), 0, asked("lora")))
    without = Setup(model=str(world.model), protocol=get_protocol(str(world.protocol)))
    with pytest.raises(BadInput, match="has no `training` text"):
        Workbench(without).prepare(job("flap", "lora"))
    bench = Workbench(setup)
    bench.dense().accelerator = torch.device("meta")
    with pytest.raises(BadInput, match="--recover needs the whole model"):
        bench.prepare(job("magnitude", "lora"))


def test_record_without_fine_tuning_omits_the_field(setup, tmp_path):
    written = run(Job(get_method("magnitude").configure()), setup, runs=tmp_path)
    assert "recovered" not in written.path.read_text()
