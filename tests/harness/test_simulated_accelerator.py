"""Run the tests marked `gpu` on a simulated accelerator, in processes of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.harness.simulated_accelerator.device import COMPILER

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
METHODS = HERE / "test_accelerator.py"
FILES = sorted(file for file in HERE.rglob("test_*.py") if "mark.gpu\n" in file.read_text())

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(
        torch.accelerator.is_available(), reason="the tests marked `gpu` run on a real accelerator"
    ),
    pytest.mark.skipif(
        shutil.which(COMPILER) is None and "ATLAS_REQUIRE_SIMULATED_ACCELERATOR" not in os.environ,
        reason=f"no C++ compiler {COMPILER}; install g++ or name another one in CXX",
    ),
]


@pytest.mark.parametrize(
    "files",
    [[METHODS], [file for file in FILES if file != METHODS]],
    ids=["methods", "harness"],
)
def test_marked_tests_pass_on_a_simulated_accelerator(files: list[Path]) -> None:
    plugin = "tests.harness.simulated_accelerator.plugin"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"),
            *("-p", plugin, "-m", "gpu", "--tb=short", *map(str, files)),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    result = done.stdout.strip().rpartition("\n")[2]
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in result
    assert " skipped" not in result
