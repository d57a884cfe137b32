"""Runs that are killed, and two at once: nothing half, nothing lost, nothing in the way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from implementations.harness.model.loading import load_model
from implementations.harness.results.store import load_records
from tests.conftest import REPOSITORY


@pytest.mark.parametrize("count", [6, pytest.param(60, marks=pytest.mark.slow)])
def test_a_killed_run_leaves_what_the_next_one_clears(count, world, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.harness.runs.kills", world.protocol, place, str(count)],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > count // 6, done.stdout


@pytest.fixture(scope="module")
def deep(world, tmp_path_factory):
    """The model of the tiny world with so many blocks that there is something to search."""
    folder = tmp_path_factory.mktemp("deep") / "model"
    shutil.copytree(world.model, folder)
    config = AutoConfig.from_pretrained(world.model, num_hidden_layers=10)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("what", ["run", "sweep"])
def test_a_search_that_was_killed_pays_for_nothing_twice(what, world, deep, start, tmp_path):
    settings = {"samples": 1, "clusters": 1, "population": 20, "generations": 9, "mutation": 0.2}
    command = [what, "evop", "--sparsity", "0.5"]
    command += [word for name in settings for word in ("--set", f"{name}={settings[name]}")]
    command += ["--model", deep, "--protocol", world.protocol, "--runs"]
    assert start(*command, tmp_path / "whole").wait(timeout=300) == 0
    runs = tmp_path / "runs"
    process = start(*command, runs)
    (journal,) = until(lambda: [f for f in runs.rglob(".*.journal") if f.read_text().count("\n")])
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=300)
    paid = [line.split() for line in journal.read_text().splitlines()]
    assert start(*command, runs).wait(timeout=300) == 0
    once, again = (
        next(record for record in load_records([folder]) if record.method == "evop")
        for folder in (tmp_path / "whole", runs)
    )
    assert 0 < len(paid) < once.details["evaluations"]
    assert again.details == once.details
    assert again.values == once.values
    assert again.seconds["prune"] > sum(float.fromhex(line[2]) for line in paid if len(line) == 3)
    assert not list(runs.rglob(".*.journal"))


def until(look):
    """Wait until something is seen, and return it."""
    deadline = time.monotonic() + 120
    while not (found := look()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.002)
    return found


def test_of_two_runs_that_save_into_one_folder_the_later_is_told(world, start, tmp_path):
    command = ("run", "wanda", "--protocol", world.protocol, "--runs", tmp_path / "runs")
    both = [start(*command, "--save", tmp_path / "out") for _ in range(2)]
    told = [process.communicate(timeout=300)[1] for process in both]
    codes = [process.returncode for process in both]
    assert sorted(codes)[0] == 0, told
    assert sorted(codes)[1] in (1, 2), told  # before the run, if the first was that fast
    assert "Traceback" not in "".join(told)
    late = told[codes.index(0) - 1]
    assert "could not be written: Directory not empty" in late or "is not empty" in late
    assert load_model(tmp_path / "out").blocks
    assert sorted(record.method for record in load_records([tmp_path / "runs"])) == [
        "dense",
        "wanda",
    ]
    assert not list(tmp_path.rglob(".*"))
