"""Runs that are killed, and two at once: nothing half, nothing lost, nothing in the way."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

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
