"""Killed and concurrent runs: no partial files, no lost work, no obstacles for the next run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from implementations.harness.model.loading import load_model
from implementations.harness.results.store import load_records
from tests.conftest import ATLAS, REPOSITORY

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def deep(world, tmp_path_factory):
    """Return a tiny model with enough blocks for a search."""
    folder = tmp_path_factory.mktemp("deep") / "model"
    shutil.copytree(world.model, folder)
    config = AutoConfig.from_pretrained(world.model, num_hidden_layers=10)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def test_killed_search_repeats_no_evaluation(world, deep, start, tmp_path):
    settings = {"samples": 1, "clusters": 1, "population": 20, "generations": 9, "mutation": 0.2}
    command = ["run", "evop", "--sparsity", "0.5"]
    command += [word for name in settings for word in ("--set", f"{name}={settings[name]}")]
    command += ["--model", deep, "--protocol", world.protocol, "--runs"]
    assert start(*command, tmp_path / "whole").wait(timeout=300) == 0
    runs = tmp_path / "runs"
    process = start(*command, runs)
    (journal,) = until(lambda: [f for f in runs.rglob(".*.journal") if f.read_text().count("\n")])
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=300)
    evaluated = [line.split() for line in journal.read_text().splitlines()]
    assert start(*command, runs).wait(timeout=300) == 0
    once, again = (
        next(record for record in load_records([folder]) if record.method == "evop")
        for folder in (tmp_path / "whole", runs)
    )
    assert 0 < len(evaluated) < once.details["evaluations"]
    assert again.details == once.details
    assert again.values == once.values
    spent = sum(float.fromhex(line[2]) for line in evaluated if len(line) == 4)
    assert again.seconds["prune"] > spent
    assert not list(runs.rglob(".*.journal"))


# A protocol for the real model in which everything but the training is short.
REAL = {
    "model": "smollm2-135m",
    "calibration": {"text": "c4", "samples": 2, "length": 64, "reserve": 1},
    "training": {"text": "c4", "length": 64, "reserve": 1},
    "evaluations": [{"text": "wikipedia", "length": 64, "windows": 1}],
}
OFTEN = "from implementations.harness.train import loop; loop.EVERY, loop.SHARE = 0.0, 1e9\n"
slow = [pytest.mark.slow, pytest.mark.model]


@pytest.mark.parametrize(
    ("real", "command"),
    [
        (False, "flap --recover lora --tokens 16384"),
        pytest.param(True, "flap --recover lora --tokens 3072", marks=slow),
        pytest.param(True, "displlm --set steps=6", marks=slow),
        pytest.param(True, "maskprune --set steps=6 --set batch=1", marks=slow),
    ],
)
def test_killed_training_continues_to_the_same_record(real, command, world, tmp_path):
    training = {"text": str(world.calibration), "length": 32}
    protocol = world.write_protocol("trained", **(REAL if real else {"training": training}))
    method = command.split()[0]
    call = [sys.executable, "-c", OFTEN + ATLAS, "run", *command.split(), "--sparsity", "0.3"]
    call += ["--protocol", str(protocol), "--runs"]
    where = {"cwd": REPOSITORY, "env": os.environ | {"OMP_NUM_THREADS": "1"}}
    runs = tmp_path / "runs"
    subprocess.run([*call, str(tmp_path / "whole")], **where, check=True)
    process = subprocess.Popen([*call, str(runs)], **where)
    (state,) = until(lambda: list((runs / "trained" / method).glob(".*.journal.[0-9]")))
    process.kill()
    process.wait()
    assert not list((runs / "trained" / method).glob("*.json")), "the run ended before the kill"
    torch.save(torch.load(state) | {"seconds": 1000.0}, state)
    subprocess.run([*call, str(runs)], **where, check=True)
    once, again = (
        next(one for one in load_records([folder]) if one.method == method)
        for folder in (tmp_path / "whole", runs)
    )
    varies = dict.fromkeys(("run", "date", "seconds", "peak", "speed"), True) | {"dense": {"run"}}
    assert again.model_dump(exclude=varies) == once.model_dump(exclude=varies)
    assert again.seconds["prune" if again.recovered is None else "recover"] > 1000
    assert not list(runs.rglob(".*journal*"))


def until(condition):
    """Wait until `condition` returns something true, and return that."""
    deadline = time.monotonic() + 600  # workers that share cores need minutes
    while not (result := condition()):
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.002)
    return result


def test_second_of_two_runs_that_save_to_one_folder_is_refused(world, start, tmp_path):
    command = ("run", "wanda", "--protocol", world.protocol, "--runs", tmp_path / "runs")
    both = [start(*command, "--save", tmp_path / "out") for _ in range(2)]
    errors = [process.communicate(timeout=300)[1] for process in both]
    codes = [process.returncode for process in both]
    assert sorted(codes)[0] == 0, errors
    assert sorted(codes)[1] in (1, 2), errors  # 2 if the first run ended before the second began
    assert "Traceback" not in "".join(errors)
    error = errors[codes.index(0) - 1]
    assert "could not be written: Directory not empty" in error or "is not empty" in error
    assert load_model(tmp_path / "out").blocks
    assert sorted(record.method for record in load_records([tmp_path / "runs"])) == [
        "dense",
        "wanda",
    ]
    assert not list(tmp_path.rglob(".*"))
