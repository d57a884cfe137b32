"""Several processes share the calibration set and prune the same weights as one."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import pytest

from implementations.harness import get_method, methods
from implementations.harness.errors import BadInput
from implementations.harness.results.protocol import get_protocol
from implementations.harness.results.store import load_records
from implementations.harness.runs import run as runs
from implementations.harness.runs import sweep
from implementations.harness.runs.job import Setup, make_job

SHARED = [slug for slug in methods() if get_method(slug).capabilities.parallel]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node")


def setup_of(world, **options):
    return Setup(str(world.model), get_protocol(str(world.protocol)), **options)


@pytest.mark.full
def test_two_processes_prune_as_one():
    command = [*TORCHRUN, "2", "-m", "tests.harness.prune.shared_pruning", *SHARED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("agrees") == 2 * len(SHARED)


@pytest.mark.parametrize(
    ("slug", "options", "message"),
    [
        ("magnitude", {}, "magnitude cannot be used with torchrun, because it reads no"),
        ("dense", {}, "dense cannot be used with torchrun, because it reads no"),
        ("llmpruner", {}, "because it cannot divide its calibration set"),
        ("wanda", {"stream": True}, "--stream cannot be used with torchrun"),
    ],
)
def test_what_processes_cannot_share_is_refused(monkeypatch, world, slug, options, message):
    monkeypatch.setattr(runs, "launched", lambda: 2)
    for start in (partial(runs.run, runs=world.model.parent / "runs"), runs.prune_as_helper):
        with pytest.raises(BadInput, match=message):
            start(make_job(slug, {}), setup_of(world, **options))


def test_more_processes_than_samples_are_refused(monkeypatch, world):
    monkeypatch.setattr(runs, "launched", lambda: 5)
    with pytest.raises(BadInput, match="5 processes cannot share 4 calibration samples; start"):
        runs.prune_as_helper(make_job("wanda", {}), setup_of(world))


def test_a_sweep_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(sweep, "launched", lambda: 2)
    with pytest.raises(BadInput, match=r"torchrun cannot be used with a sweep; use --workers"):
        sweep.sweep([make_job("wanda", {})], None, runs=tmp_path)


@pytest.mark.full
def test_a_run_of_two_processes_writes_one_record(world, tmp_path):
    command = [*TORCHRUN, "2", "--no-python", sys.executable, "-m", "implementations.harness.cli"]
    command += ["run", "wanda", "--protocol", world.protocol, "--runs", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    dense, record = load_records([tmp_path])
    assert (dense.processes, record.processes) == (1, 2)
    alone = runs.run(make_job("wanda", {}), setup_of(world), runs=tmp_path / "alone").record
    assert (alone.processes, alone.key) == (1, record.key)
    assert alone.values == pytest.approx(record.values, rel=1e-4)
