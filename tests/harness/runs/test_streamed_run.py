"""`atlas run --stream`: the same record as in memory, with clear limits."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors import SafetensorError

from implementations.harness import load_model
from implementations.harness.contract.helpers import logits
from implementations.harness.errors import BadInput, Unavailable
from implementations.harness.model import streaming
from implementations.harness.model.streaming import save_streamed
from implementations.harness.model.units import count_weights
from implementations.harness.prune.registry import get_method
from implementations.harness.results.protocol import Recovery
from implementations.harness.runs import run as running
from implementations.harness.runs.job import Job, Setup
from implementations.harness.runs.run import run
from implementations.harness.runs.verify import repeat, verify


@pytest.fixture
def streamed(setup):
    return Setup(**vars(setup) | {"stream": True})


def job(slug, **settings):
    return Job(get_method(slug).configure(**settings))


@pytest.mark.parametrize("slug", ["sparsegpt", "flap"])
def test_record_equals_that_of_a_run_in_memory(setup, streamed, tmp_path, slug):
    one = run(job(slug), setup, runs=tmp_path / "a", checkpoint=tmp_path / "whole").record
    other = run(job(slug), streamed, runs=tmp_path / "b", checkpoint=tmp_path / "parts").record
    assert other.values == one.values
    assert other.footprint == one.footprint
    assert other.key == one.key
    assert "--stream" in other.command
    assert (one.model.streamed, other.model.streamed) == (False, True)
    whole, parts = (load_model(tmp_path / name) for name in ("whole", "parts"))
    assert torch.equal(logits(whole), logits(parts))
    assert verify(other).agrees
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "parts", "whole"]


def test_two_runs_that_save_to_one_folder_do_not_mix(streamed, tmp_path, monkeypatch):
    """The second one starts after the first has pruned, and ends before the first saves."""
    done, save = [], save_streamed

    def saving(*arguments, **options):
        if not done:
            done.append(True)
            options_of_second = {"runs": tmp_path / "b", "checkpoint": tmp_path / "out"}
            done.append(run(job("wanda", sparsity=0.7), streamed, **options_of_second).record)
        save(*arguments, **options)

    monkeypatch.setattr(running, "save_streamed", saving)
    with pytest.raises(BadInput, match="The model was not saved; the record of the run is in"):
        run(job("wanda", sparsity=0.3), streamed, runs=tmp_path / "a", checkpoint=tmp_path / "out")
    kept, everything = reversed(count_weights(load_model(tmp_path / "out")))
    assert 1 - kept / everything == pytest.approx(done[1].achieved)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "out"]


def test_a_full_disk_is_found_before_the_work(streamed, tmp_path, monkeypatch):
    done = run(job("wanda"), streamed, runs=tmp_path / "runs")
    free = SimpleNamespace(free=done.record.dense.footprint.bytes - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: free)
    with pytest.raises(Unavailable, match="--save: not enough disk space"):
        run(job("wanda"), streamed, runs=tmp_path / "runs", checkpoint=tmp_path / "new")
    with pytest.raises(Unavailable, match="TMPDIR: not enough disk space"):
        repeat(done.record)


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left"), SafetensorError("No space left (os error 28)")]
)
def test_model_that_is_not_saved_is_written_to_the_folder_of_the_runs(
    streamed, tmp_path, monkeypatch, error
):
    folders = []

    def full(tensors, file, metadata):
        folders.append(file.parent)
        raise error

    monkeypatch.setattr(streaming, "save_file", full)
    with pytest.raises(Unavailable, match=r"No space left.*Free some space"):
        run(job("wanda"), streamed, runs=tmp_path)
    assert folders[0].parent == tmp_path
    assert folders[0].name.startswith(".streamed-")
    assert not list(tmp_path.glob(".*"))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
    with pytest.raises(Unavailable, match="--runs: not enough disk space"):
        run(job("wanda"), streamed, runs=tmp_path)


def test_what_needs_the_whole_model_is_refused(setup, streamed, tmp_path):
    recovery = Recovery.by("full", 64)
    for refused, message in (
        (
            Job(get_method("wanda").configure(), 0, recovery),
            "--recover cannot be used with --stream",
        ),
        (job("slicegpt"), "slicegpt cannot be used with --stream"),
        (job("griffin"), "griffin needs the whole model"),
    ):
        with pytest.raises(BadInput, match=message):
            run(refused, streamed, runs=tmp_path)
    tasks = Setup(**vars(streamed) | {"tasks": ("arc_easy",)})
    with pytest.raises(BadInput, match="--tasks cannot be used with --stream"):
        run(job("wanda"), tasks, runs=tmp_path)
    assert not list(tmp_path.rglob("*.json"))
