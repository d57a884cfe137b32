"""One run, end to end on a tiny model: records, refusals and failures."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from implementations.harness.data.tokens import Tokens
from implementations.harness.errors import BadInput, NumericsError, Unavailable
from implementations.harness.model.loading import load_model
from implementations.harness.prune.registry import get_method
from implementations.harness.results.protocol import Recovery, get_protocol
from implementations.harness.results.record import NO_SPEED_UP
from implementations.harness.results.store import (
    load_record,
    load_records,
    published_folders,
    save_record,
)
from implementations.harness.runs import workbench
from implementations.harness.runs.job import Job, Setup
from implementations.harness.runs.recording import joined_spans, labels_of, plain_json
from implementations.harness.runs.run import check_space, run
from implementations.harness.runs.verify import verify
from implementations.harness.runs.workbench import Workbench

METRIC = "ppl/evaluation/32"


@pytest.fixture
def setup(world) -> Setup:
    return Setup(model=str(world.model), protocol=get_protocol(str(world.protocol)))


def job(slug: str, seed: int = 0, **parameters) -> Job:
    return Job(get_method(slug).configure(**parameters), seed)


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_run_writes_its_record_and_the_dense_one(setup, tmp_path):
    written = run(job("sparsegpt", seed=3, damping=0.05), setup, runs=tmp_path)
    assert files(tmp_path) == [
        "tiny/dense/tiny-dense.json",
        "tiny/sparsegpt/tiny-s0.5-damping0.05-seed3.json",
    ]
    record = load_record(written.path)
    assert record == written.record
    dense = load_record(tmp_path / "tiny/dense/tiny-dense.json")
    assert record.dense.run == dense.run
    assert record.dense.values == dense.values == dense.dense.values
    assert dense.values.keys() == {METRIC}
    assert record.values.keys() == {METRIC, "kl/evaluation/32", "agreement/evaluation/32"}


def test_prompt_method_is_measured_after_the_prompt(setup, tmp_path):
    written = run(job("griffin", sparsity=0.2), setup, runs=tmp_path)
    record, dense = written.record, load_record(tmp_path / "tiny/dense/tiny-dense.json")
    name = "after_prompt/evaluation/32"
    names = [f"{kind}_after_prompt/evaluation/32" for kind in ("kl", "agreement")]
    assert list(record.values) == [name, *names]
    assert record.dense.values == dense.values | {name: record.dense.values[name]}
    assert record.values[name] != record.dense.values[name]
    assert record.achieved == pytest.approx(0.2, abs=0.01)
    lost = record.dense.footprint.macs - record.footprint.macs
    assert record.footprint == record.dense.footprint.model_copy(
        update={"macs": record.footprint.macs}
    )
    model = load_model(setup.model)
    total = sum(linear.weight.numel() for _, _, linear in model.linears())
    assert lost == pytest.approx(record.achieved * total)
    assert record.speed.decode is not None
    assert record.sample.startswith("the river")
    assert verify(record).agrees


@pytest.mark.parametrize("dense_prompt", [True, False])
def test_dropped_activations_are_counted_on_the_measured_text(setup, tmp_path, dense_prompt):
    settings = {"sparsity": 0.4, "allocation": "uniform", "dense_prompt": dense_prompt}
    record = run(job("teal", **settings), setup, runs=tmp_path).record
    name = "after_prompt/evaluation/32" if dense_prompt else METRIC
    assert next(iter(record.values)) == name
    assert record.values[name] > record.dense.values[name]
    linears = list(load_model(setup.model).linears())
    unread = sum(
        record.details["counted"][block.index][role] * linear.weight.numel()
        for block, role, linear in linears
    )
    total = sum(linear.weight.numel() for _, _, linear in linears)
    assert record.achieved == pytest.approx(unread / total, abs=1e-4)
    assert record.achieved != pytest.approx(0.4, abs=1e-4)
    lost = record.dense.footprint.macs - record.footprint.macs
    assert lost == pytest.approx(unread, abs=1)
    assert record.speed.decode is not None
    assert verify(record).agrees


def test_refuses_to_save_the_model_of_a_prompt_method(setup, tmp_path):
    with pytest.raises(BadInput, match="--save cannot be used with griffin"):
        run(job("griffin"), setup, runs=tmp_path / "runs", checkpoint=tmp_path / "saved")
    assert files(tmp_path) == []


def test_refuses_tasks_for_a_prompt_method(setup, monkeypatch):
    monkeypatch.setattr(workbench, "load_tasks", lambda *_: [])
    bench = Workbench(replace(setup, tasks=("arc_easy",)))
    with pytest.raises(BadInput, match="--tasks cannot be used with griffin"):
        bench.prepare(job("griffin", sparsity=0.2))


def test_record_contains_everything_needed_to_repeat_the_run(setup, tmp_path, world):
    record = run(job("wanda", pattern="1:4"), setup, runs=tmp_path).record
    assert record.configuration == {"sparsity": 0.75, "pattern": "1:4"}
    assert (record.requested, record.achieved) == (0.75, 0.75)
    assert record.granularity == ("semi-structured",)
    assert record.protocol == setup.protocol
    assert record.seed == 0
    assert record.model.sha256 == load_model(world.model).identity.weights
    assert (record.model.family, record.model.dtype, record.model.device) == (
        "llama",
        "float32",
        "cpu",
    )
    assert {"load", "prune", "evaluate", "generate"} <= record.seconds.keys()
    assert record.peak.bytes >= record.peak.start > 0
    assert "resident" in record.peak.how
    assert {"python", "torch", "transformers", "safetensors"} <= record.versions.keys()
    assert record.hardware.threads == torch.get_num_threads()
    assert record.sample.startswith("the river")
    assert record.footprint.nonzero < record.dense.footprint.nonzero
    assert "--pattern 1:4" in record.command
    assert "--seed 0" in record.command
    calibration, evaluation = record.texts
    assert (calibration.role, calibration.samples) == ("calibration", 4)
    assert (evaluation.role, evaluation.spans) == (METRIC, ((0, 128),))
    assert "another text" in record.disjoint


def test_dense_model_is_measured_once(setup, tmp_path):
    first = run(job("magnitude"), setup, runs=tmp_path).record
    path = tmp_path / "tiny/dense/tiny-dense.json"
    before = path.stat().st_mtime_ns
    second = run(job("wanda"), setup, runs=tmp_path).record
    assert second.dense == first.dense
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("what", ["machine", "version"])
def test_dense_record_of_another_machine_or_version_is_not_used(what, setup, tmp_path):
    path = run(Job(None), setup, runs=tmp_path).path
    here = load_record(path)
    changes = {
        "machine": {"hardware": here.hardware.model_copy(update={"cpu": "another"})},
        "version": {"versions": here.versions | {"torch": "2.0.0"}},
    }
    there = "20200101T000000Z-00000000"
    path.write_text(here.model_copy(update=changes[what] | {"run": there}).to_json())
    assert run(job("wanda"), setup, runs=tmp_path).record.dense.run != there


def test_run_of_the_dense_model(setup, tmp_path):
    written = run(Job(None), setup, runs=tmp_path)
    record = written.record
    assert (record.method, record.requested, record.granularity) == ("dense", 0.0, ())
    assert record.dense.run == record.run
    assert record.labels == ()
    assert run(Job(None), setup, runs=tmp_path).path == written.path


def test_speed_is_only_measured_for_structured_pruning(setup, tmp_path):
    structured = run(job("shortgpt", sparsity=0.5), setup, runs=tmp_path).record
    for rate in (structured.speed.prefill, structured.speed.decode):
        assert rate.low <= rate.ratio <= rate.high
        assert rate.dense > 0
    assert "2 repeats" in structured.speed.note
    assert "speed" in structured.seconds
    masked = run(job("magnitude"), setup, runs=tmp_path).record
    assert masked.speed.note == NO_SPEED_UP
    assert masked.speed.decode is None


@pytest.mark.gpu
def test_offloaded_run_does_not_measure_speed(setup, tmp_path):
    place = torch.accelerator.current_accelerator().type
    offloaded = Setup(**(vars(setup) | {"accelerator": place}))
    record = run(job("shortgpt", sparsity=0.5), offloaded, runs=tmp_path).record
    assert (record.model.device, record.model.accelerator) == ("cpu", place)
    assert record.speed.decode is None
    assert "block by block" in record.speed.note
    assert record.hardware.accelerator
    assert "allocated" in record.peak.how
    whole = Setup(**(vars(setup) | {"device": place}))
    at_once = run(job("shortgpt", sparsity=0.5), whole, runs=tmp_path).record
    assert at_once.values[METRIC] == pytest.approx(record.values[METRIC], rel=1e-3)
    assert verify(at_once).agrees


def test_seed_draws_the_calibration_set(setup, tmp_path):
    zero = run(job("wanda"), setup, runs=tmp_path).record
    one = run(job("wanda", seed=1), setup, runs=tmp_path).record
    assert zero.texts[0].spans != one.texts[0].spans
    assert zero.texts[1] == one.texts[1]
    assert zero.key != one.key
    assert zero.group == one.group
    again = run(job("wanda"), setup, runs=tmp_path).record
    assert (again.key, again.values) == (zero.key, zero.values)
    assert len(load_records([tmp_path])) == 3


def test_saved_model_reproduces_the_recorded_values(setup, tmp_path):
    written = run(job("flap"), setup, runs=tmp_path / "runs", checkpoint=tmp_path / "out")
    saved = Setup(str(tmp_path / "out"), setup.protocol)
    again = run(Job(None), saved, runs=tmp_path / "again").record
    assert again.values[METRIC] == pytest.approx(written.record.values[METRIC], rel=1e-6)
    assert written.record.run in (tmp_path / "out" / "README.md").read_text()


def constant_of_a_norm(model):
    for norm in model.blocks[0].norms.values():
        norm.variance_epsilon *= 3


def replaced_linear(model):
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    model.layers[0].mlp.down_proj.__class__ = Doubled


def rotary_buffer(model):
    model.hf.model.rotary_emb.inv_freq *= 1.1


@pytest.mark.parametrize("change", [constant_of_a_norm, replaced_linear, rotary_buffer])
@pytest.mark.parametrize("stream", [False, True])
def test_another_model_than_the_measured_one_is_not_saved(change, stream, setup, tmp_path):
    class Changing(get_method("magnitude")):
        def prune(self, model, calibration):
            change(model)
            return super().prune(model, calibration)

    where = {"runs": tmp_path / "runs", "checkpoint": tmp_path / "out"}
    with pytest.raises(BadInput, match=r"other logits than the measured one .* record of the run"):
        run(Job(Changing()), replace(setup, stream=stream), **where)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_record_keeps_the_warnings_of_the_method(world, tmp_path):
    narrow = world.write_protocol(
        "narrow",
        calibration={"text": str(world.calibration), "samples": 1, "length": 24},
    )
    setup = Setup(str(world.model), get_protocol(str(narrow)))
    record = run(job("sparsegpt", damping=0), setup, runs=tmp_path).record
    assert any("damping" in warning for warning in record.warnings)


def test_collapsed_means_more_than_fifty_times_dense():
    assert labels_of({"ppl/a/8": 1001.0}, {"ppl/a/8": 20.0}) == ("collapsed",)
    assert labels_of({"ppl/a/8": 1000.0}, {"ppl/a/8": 20.0}) == ()
    assert labels_of({"acc/a": 60.0}, {"acc/a": 1.0}) == ()


def test_adjacent_spans_are_joined():
    ids = torch.zeros(4, 2, dtype=torch.int64)
    tokens = Tokens(ids, "x", ((0, 2), (2, 4), (6, 8), (4, 6)), "0" * 64)
    assert joined_spans(tokens) == ((0, 4), (6, 8), (4, 6))


def test_infinity_and_nan_become_strings():
    assert plain_json({"a": [float("inf"), 1.5, (float("nan"),)]}) == {"a": ["inf", 1.5, ["nan"]]}


REFUSED = {
    "pattern that does not divide": (lambda: job("wanda", pattern="2:5"), {}, "does not divide"),
    "budget that removes everything": (
        lambda: job("shortgpt", sparsity=1.0),
        {},
        "is too high for this model",
    ),
    "no such device": (lambda: job("wanda"), {"device": "nowhere"}, "device"),
    "no such dtype": (lambda: job("wanda"), {"dtype": "int3"}, "dtype"),
    "no such model": (lambda: job("wanda"), {"model": "smolm2-135m"}, "did you mean"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_refuses_invalid_input_before_writing_anything(case, setup, tmp_path):
    make, changes, message = case
    asked = Setup(**(vars(setup) | changes))
    with pytest.raises(BadInput, match=message):
        run(make(), asked, runs=tmp_path / "runs", checkpoint=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", ["speed", "generation"])
def test_refuses_more_tokens_than_positions_before_any_work(part, world, tmp_path):
    asked = {"prompt": "the river", "tokens": 500} if part == "generation" else {"prompt": 500}
    protocol = get_protocol(str(world.write_protocol(f"too-{part}", **{part: asked})))
    with pytest.raises(BadInput, match="positions"):
        run(job("wanda"), Setup(str(world.model), protocol), runs=tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []


def test_refuses_nan_weights_before_writing_anything(setup, world, tmp_path):
    from implementations.harness.model.saving import save_model

    model = load_model(world.model)
    with torch.no_grad():
        model.blocks[1].norms["input_layernorm"].weight[0] = float("nan")
    save_model(model, tmp_path / "damaged")
    damaged = Setup(str(tmp_path / "damaged"), setup.protocol)
    for one in (job("wanda"), Job(None)):
        with pytest.raises(NumericsError, match=r"block 1, input_layernorm.weight: .* is damaged"):
            run(one, damaged, runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_refuses_checkpoint_folder_that_is_not_empty(setup, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("")
    with pytest.raises(BadInput, match="not empty"):
        run(job("wanda"), setup, runs=tmp_path / "runs", checkpoint=tmp_path / "out")
    assert files(tmp_path) == ["out/precious"]


def test_refuses_runs_folder_below_a_file(setup, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="is a file"):
        run(job("wanda"), setup, runs=tmp_path / "file" / "runs")


def test_refuses_nested_folders_of_records_and_models(setup, world, tmp_path):
    for runs, checkpoint, message in (
        ("runs", "runs", "where every .json file is read"),
        ("runs", "runs/deep/model", "where every .json file is read"),
        ("runs", published_folders()[0] / "model", "where every .json file is read"),
        ("out/runs", "out", "is inside the folder of --save"),
        ("runs", world.model / "pruned", "is inside the folder of the input model"),
        (world.model / "runs", "out", "is inside the folder of the input model"),
        (world.model, "out", "is inside the folder of the input model"),
        ("link/runs", "out", "is inside the folder of --save"),
    ):
        (tmp_path / "link").symlink_to("out")
        with pytest.raises(BadInput, match=message):
            run(job("wanda"), setup, runs=tmp_path / runs, checkpoint=tmp_path / checkpoint)
        (tmp_path / "link").unlink()
        assert list(tmp_path.iterdir()) == []


def test_refuses_to_save_the_dense_model(setup, tmp_path):
    for job in (Job(None), Job(None, 0, Recovery.by("full", 64))):
        with pytest.raises(BadInput, match="--save: the dense model is not saved"):
            run(job, setup, runs=tmp_path / "runs", checkpoint=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_refuses_unwritable_record_before_measuring_the_dense_model(setup, tmp_path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "wanda").write_text("")
    with pytest.raises(Unavailable, match=r"cannot write to .*wanda: Not a directory"):
        run(job("wanda"), setup, runs=tmp_path)
    assert files(tmp_path) == ["tiny/wanda"]


def test_failure_while_saving_the_model_keeps_the_record(setup, tmp_path, monkeypatch):
    def fill_disk(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(PreTrainedTokenizerBase, "save_pretrained", fill_disk)
    with pytest.raises(Unavailable, match="could not be written: No space left") as refusal:
        run(job("wanda"), setup, runs=tmp_path / "runs", checkpoint=tmp_path / "out")
    path = tmp_path / "runs/tiny/wanda/tiny-s0.5-seed0.json"
    assert f"The model was not saved; the record of the run is in {path}" in str(refusal.value)
    assert load_record(path).method == "wanda"
    assert files(tmp_path / "out") == []
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("lost", ["dense", "wanda"])
def test_record_that_cannot_be_written_is_saved_to_a_temporary_folder(
    lost, setup, tmp_path, monkeypatch
):
    measure = Workbench.measure

    def block_folder_and_measure(bench, job, samples=None):
        if job.slug == lost:
            (tmp_path / "runs" / "tiny").mkdir(parents=True, exist_ok=True)
            (tmp_path / "runs" / "tiny" / lost).touch()
        return measure(bench, job, samples)

    monkeypatch.setattr(Workbench, "measure", block_folder_and_measure)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(Unavailable, match="the record of the run is in ") as refusal:
        run(job("wanda"), setup, runs=tmp_path / "runs")
    assert load_record(Path(str(refusal.value).rpartition(" is in ")[2])).method == lost


def test_refuses_full_disk_before_any_work(tmp_path):
    with pytest.raises(Unavailable, match="--save: not enough disk space"):
        check_space("--save", tmp_path / "not" / "yet", 10**18)
    (tmp_path / "link").symlink_to("not/yet")
    check_space("--save", tmp_path / "link", 0)


@pytest.mark.full
def test_tasks_are_measured_for_dense_and_pruned_model(setup, tmp_path, monkeypatch):
    pytest.importorskip("lm_eval", reason="lm-eval is not installed (extra `eval`)")
    import datasets

    data = Path(__file__).parents[2] / "data" / "tasks"
    monkeypatch.chdir(data)  # the task file names its data relative to the working directory
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    asked = Setup(**(vars(setup) | {"tasks": ("opposites",), "task_folder": str(data)}))
    record = run(job("wanda"), asked, runs=tmp_path / "runs").record
    assert "acc/opposites" in record.dense.values
    assert 0 <= record.values["acc/opposites"] <= 1
    assert "--tasks opposites --task-folder" in record.command
    assert record.name == "tiny-s0.5-seed0-opposites"
    assert verify(record, task_folder=data).agrees
    (dense,) = (one for one in load_records([tmp_path / "runs"]) if one.method == "dense")
    stale = {"values": dense.values | {"acc/opposites": 0.123}}
    save_record(dense.model_copy(update=stale), tmp_path / "runs")
    again = run(job("wanda"), asked, runs=tmp_path / "runs").record
    assert again.dense.values["acc/opposites"] == 0.123  # loaded from the file
    stale["versions"] = dense.versions | {"lm-eval": "0.4.0"}
    save_record(dense.model_copy(update=stale), tmp_path / "runs")
    again = run(job("wanda"), asked, runs=tmp_path / "runs").record
    assert again.dense.values == dense.values  # measured again because lm-eval's version differs
    with pytest.raises(BadInput, match="did you mean 'opposites'"):
        run(job("wanda"), Setup(**(vars(asked) | {"tasks": ("opposits",)})), runs=tmp_path / "no")
    assert not (tmp_path / "no").exists()


INTO_THE_CHECKOUT = """
from implementations.harness.results.processor import use_standard_capability

use_standard_capability()
import sys
from pathlib import Path
from implementations.harness.runs.job import Job, Setup
from implementations.harness.runs.recording import commit
from implementations.harness.errors import BadInput
from implementations.harness.prune.registry import get_method
from implementations.harness.results.protocol import Recovery, get_protocol
from implementations.harness.runs.run import run

protocol = get_protocol(sys.argv[1])
job, setup = Job(get_method("wanda").configure()), Setup(protocol.model, protocol)
try:
    run(job, setup, runs=Path("runs"), publish=True)
except BadInput as error:
    print(error)
print("dirty", commit()[1])
Path("implementations/new.py").write_text("")
print("dirty", commit()[1])
"""


@pytest.fixture
def installed(tmp_path) -> Path:
    """Return a copy of the code outside a git checkout."""
    here = Path(__file__).resolve().parents[3]
    skipped = shutil.ignore_patterns("__pycache__", "records", "test_*")
    shutil.copytree(here / "implementations", tmp_path / "implementations", ignore=skipped)
    return tmp_path


def write_into(root: Path, world) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", INTO_THE_CHECKOUT, str(world.protocol)],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.full
def test_refuses_to_publish_outside_a_checkout(installed, world):
    refusal, before, after = write_into(installed, world)
    assert refusal.startswith("--publish writes")
    assert before == after == "dirty None"
    assert not (installed / "runs").exists()
    assert not list(installed.rglob("records"))


@pytest.mark.full
def test_publish_writes_records_to_the_checkout(installed, world):
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(installed)]
    subprocess.run([*git, "init", "-q"], check=True)
    (installed / ".gitignore").write_text("/runs/\n__pycache__/\n")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "all"], check=True)
    # New records do not make the checkout dirty; new code does.
    assert write_into(installed, world) == ["dirty False", "dirty True"]
    folder = installed / "implementations/wanda/records/tiny"
    record = load_record(folder / "tiny-s0.5-seed0.json")
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert (record.commit, record.dirty) == (head.stdout.strip(), False)
    assert load_record(installed / "runs/tiny/wanda/tiny-s0.5-seed0.json") == record
    dense = installed / "implementations/harness/records/tiny/tiny-dense.json"
    assert load_record(dense).run == record.dense.run


@pytest.mark.full
@pytest.mark.model
def test_run_on_a_real_model(tmp_path):
    quick = get_protocol("quick").model_dump(mode="json")
    quick |= {"name": "quicker", "generation": {"prompt": "The sea", "tokens": 4}}
    quick["calibration"] |= {"samples": 2, "length": 128}
    quick["evaluations"][0] |= {"windows": 2}
    quick["speed"] |= {"prompt": 8, "tokens": 4, "repeats": 2}
    path = tmp_path / "quicker.yaml"
    path.write_text(json.dumps(quick))
    setup = Setup("smollm2-135m", get_protocol(str(path)))
    record = run(job("shortgpt", sparsity=0.1), setup, runs=tmp_path / "runs").record
    metric = "ppl/wikipedia/512"
    assert 15 < record.dense.values[metric] < record.values[metric] < 50
    assert record.details["removed"]
    assert record.labels == ()
    assert record.footprint.parameters < record.dense.footprint.parameters == 134_515_008
