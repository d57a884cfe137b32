"""Sweeps: planned, skipped and failed runs, in one process and in several."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from implementations.harness.errors import BadInput, Unavailable
from implementations.harness.prune.registry import get_method
from implementations.harness.results.store import load_records, save_record
from implementations.harness.runs import sweep as sweeping
from implementations.harness.runs import sweep_file, workers
from implementations.harness.runs.job import Job, Setup
from implementations.harness.runs.sweep import sweep

METRIC = "ppl/evaluation/32"


def job(slug: str, seed: int = 0, **parameters) -> Job:
    return Job(get_method(slug).configure(**parameters), seed)


def names(jobs) -> list[str]:
    return [str(job) for job in jobs]


def test_options_are_combined():
    jobs = sweep_file.jobs_of(["wanda", "dense"], [0.5, 0.7], ["2:4"], [], [0, 1])
    assert names(jobs) == [
        "wanda 50 % seed 0",
        "wanda 50 % seed 1",
        "wanda 70 % seed 0",
        "wanda 70 % seed 1",
        "wanda 2:4 seed 0",
        "wanda 2:4 seed 1",
        "dense",
    ]


def test_settings_are_converted_by_the_method():
    (one,) = sweep_file.jobs_of(["sparsegpt"], [], [], ["damping=0.05", "block_size=64"], [0])
    assert (one.method.damping, one.method.block_size) == (0.05, 64)
    (two,) = sweep_file.jobs_of(["flap"], [], [], ["compensate=false"], [0])
    assert two.method.compensate is False
    (three,) = sweep_file.jobs_of(["wanda"], [], [], ["pattern=none"], [0])
    assert three.method.pattern is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["damping"], "NAME=VALUE"),
        (["=1"], "NAME=VALUE"),
        (["damping=1", "damping=2"], "twice"),
        (["dampign=1"], "did you mean 'damping'"),
        (["damping=much"], "damping: Input should be a valid number"),
        (["damping=nan"], "damping: Input should be"),
        (["damping=[1"], "JSON"),
    ],
)
def test_refuses_invalid_settings(settings, message):
    with pytest.raises(BadInput, match=message):
        sweep_file.jobs_of(["sparsegpt"], [], [], settings, [0])


FILE = """
protocol: quick
seeds: [0]
runs:
  - dense
  - {method: magnitude, sparsity: [0.5, 0.7]}
  - {method: [wanda, sparsegpt], sparsity: 0.5, seeds: [0, 1]}
  - {method: sparsegpt, pattern: ["2:4", "4:8"], damping: 0.05}
  - {method: wanda, sparsity: 0.5}
"""


def test_file_gives_every_run_once(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(FILE)
    read = sweep_file.read_sweep_file(path)
    assert read.protocol == "quick"
    assert names(read.jobs()) == [
        "dense",
        "magnitude 50 % seed 0",
        "magnitude 70 % seed 0",
        "wanda 50 % seed 0",
        "wanda 50 % seed 1",
        "sparsegpt 50 % seed 0",
        "sparsegpt 50 % seed 1",
        "sparsegpt 2:4 damping=0.05 seed 0",
        "sparsegpt 4:8 damping=0.05 seed 0",
    ]


def test_demo_file_has_six_runs():
    read = sweep_file.read_sweep_file(Path(__file__).resolve().parents[3] / "tools" / "demo.yaml")
    assert read.protocol == "quick"
    assert names(read.jobs()) == [
        "dense",
        "magnitude 50 % seed 0",
        "wanda 50 % seed 0",
        "sparsegpt 50 % seed 0",
        "flap 20 % seed 0",
        "shortgpt 20 % seed 0",
    ]


JOBS = [Job(None), job("magnitude"), job("wanda"), job("wanda", 1), job("shortgpt", sparsity=0.5)]


def test_sweep_measures_dense_once_and_skips_existing_records(setup, tmp_path):
    first = sweep(JOBS[:3], setup, runs=tmp_path)
    assert (len(first.records), first.skipped, first.failures) == (3, 0, ())
    assert [record.method for record in first.records] == ["dense", "magnitude", "wanda"]
    there = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    second = sweep(JOBS, setup, runs=tmp_path)
    assert (len(second.records), second.skipped) == (5, 3)
    assert all(path.stat().st_mtime_ns == when for path, when in there.items())
    records = load_records([tmp_path])
    assert len(records) == 5
    assert len({record.dense.run for record in records}) == 1


def test_sweep_replaces_record_of_another_version(setup, tmp_path):
    first = sweep(JOBS[:2], setup, runs=tmp_path)
    for record in first.records:
        versions = record.versions | {"transformers": "1.0"}
        save_record(record.model_copy(update={"versions": versions}), tmp_path)
    second = sweep(JOBS[:2], setup, runs=tmp_path)
    assert (second.skipped, second.failures) == (0, ())
    assert load_records([tmp_path]) == list(second.records)
    assert [r.versions for r in second.records] == [r.versions for r in first.records]


def test_sweep_reports_a_failed_run_and_continues(setup, tmp_path):
    bad = job("wanda", pattern="2:5")
    done = sweep([bad, *JOBS[1:3]], setup, runs=tmp_path)
    ((failed, why),) = done.failures
    assert failed == bad
    assert "does not divide" in why
    assert [record.method for record in done.records] == ["magnitude", "wanda"]


@pytest.mark.full
def test_several_workers_give_the_same_records_as_one(setup, tmp_path):
    one = sweep(JOBS, setup, runs=tmp_path / "one")
    two = sweep(JOBS, setup, runs=tmp_path / "two", count=2)
    assert not two.failures
    for a, b in zip(one.records, two.records, strict=True):
        assert (a.key, a.name) == (b.key, b.name)
        assert a.values[METRIC] == pytest.approx(b.values[METRIC], rel=1e-6)
    assert {record.dense.run for record in two.records} == {two.records[0].run}


def test_refuses_sweep_with_missing_model(setup, tmp_path):
    asked = Setup(str(tmp_path / "nothing"), setup.protocol)
    with pytest.raises(BadInput):
        sweep(JOBS, asked, runs=tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []


def test_missing_ray_error_names_the_extra(setup, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # makes `import ray` fail
    with pytest.raises(Unavailable, match=r"pruning-atlas\[scale\]"):
        sweep(JOBS[:2], setup, runs=tmp_path / "runs", ray=True)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("device", "accelerator", "expected", "on_ray"),
    [
        ("cpu", None, ("cpu", None), 0),
        ("cuda", None, ("cuda:1", None), 1),
        ("cpu", "cuda", ("cpu", "cuda:1"), 1),
    ],
)
def test_each_worker_has_an_accelerator(setup, monkeypatch, device, accelerator, expected, on_ray):
    asked = replace(setup, device=device, accelerator=accelerator)
    monkeypatch.setattr(sweeping, "parse_device", torch.device)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setattr(sweeping, "Workbench", lambda own: own)
    own = sweeping.make_pruner(asked, {}, 3).bench
    assert (own.device, own.accelerator) == expected
    reserved = []
    monkeypatch.setattr(
        workers, "on_ray", lambda *_, accelerators: reserved.append(accelerators) or ()
    )
    sweeping._execute([], asked, {}, None, 4, ray=True)
    assert reserved == [on_ray]
