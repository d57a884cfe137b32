"""Killed and concurrent runs: no partial files, no lost work, no obstacles for the next run."""

from __future__ import annotations

import pytest

from implementations.harness.model.loading import load_model
from implementations.harness.results.store import load_records

pytestmark = pytest.mark.full


# A protocol for the real model in which everything but the training is short.
REAL = {
    "model": "smollm2-135m",
    "calibration": {"text": "c4", "samples": 2, "length": 64, "reserve": 1},
    "training": {"text": "c4", "length": 64, "reserve": 1},
    "evaluations": [{"text": "wikipedia", "length": 64, "windows": 1}],
}
OFTEN = "from implementations.harness.train import loop; loop.EVERY, loop.SHARE = 0.0, 1e9\n"
slow = [pytest.mark.slow, pytest.mark.model]


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
