"""`atlas run --stream`: the same record as in memory, resumable, with clear limits."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from implementations.harness import load_model
from implementations.harness.contract.helpers import logits
from implementations.harness.errors import BadInput, Unavailable
from implementations.harness.model import streaming
from implementations.harness.model.streaming import StreamedModel, work_folder
from implementations.harness.prune.registry import get_method
from implementations.harness.results.protocol import Recovery
from implementations.harness.results.store import load_records
from implementations.harness.runs import workbench
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


def test_killed_run_continues_with_the_finished_blocks(streamed, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    write, written = StreamedModel._write, []

    def dying(self, block, *arguments):
        if written:
            raise Killed
        written.append(block.index)
        write(self, block, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(StreamedModel, "_write", dying)
        with pytest.raises(Killed):
            run(job("wanda"), streamed, runs=tmp_path / "runs", checkpoint=tmp_path / "out")
    assert work_folder(tmp_path / "out").is_dir()
    with pytest.raises(BadInput, match="finished blocks of a different run"):
        run(job("magnitude"), streamed, runs=tmp_path / "runs", checkpoint=tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(workbench, "relevant_versions", lambda *_: {"torch": "1.0"})
        with pytest.raises(BadInput, match="finished blocks of a different run"):
            run(job("wanda"), streamed, runs=tmp_path / "runs", checkpoint=tmp_path / "out")
    file = work_folder(tmp_path / "out") / "block-00000.safetensors"
    with safe_open(file, "pt") as content:
        metadata = content.metadata()
    assert float(metadata["seconds"]) > 0
    save_file(load_file(file), file, metadata | {"seconds": "1000.0"})
    (dense,) = load_records([tmp_path / "runs"])
    free = SimpleNamespace(free=dense.footprint.bytes - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: free)
    with pytest.raises(Unavailable, match="--save: not enough disk space"):
        run(job("wanda"), streamed, runs=tmp_path / "runs", checkpoint=tmp_path / "new")
    done = run(job("wanda"), streamed, runs=tmp_path / "runs", checkpoint=tmp_path / "out")
    assert done.record.seconds["prune"] > 1000
    assert (tmp_path / "out" / "config.json").is_file()
    assert not work_folder(tmp_path / "out").exists()
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
