"""`make gpu` on the simulated accelerator: cut, killed, continued, and done."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from implementations.harness.download.embedded import MODEL, TEXTS
from implementations.harness.results.store import load_records
from tests.harness.simulated_accelerator.device import COMPILER
from tools.gpu import environment, summary, wheels
from tools.gpu.__main__ import Results
from tools.gpu.resumable_tests import read
from tools.gpu.steps import BENCHMARKS, UNTIL, Choice, Ended, steps

ROOT = Path(__file__).resolve().parents[1]
FEW = "test_acting_methods or test_tensors_left_on_the_host"

needs_compiler = pytest.mark.skipif(
    shutil.which(COMPILER) is None, reason=f"no C++ compiler {COMPILER}"
)


@pytest.fixture
def command(world: Any, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start the command in a process group of its own, with a tiny model for the sweeps."""
    for name, run in (("speed", "shortgpt"), ("records", "magnitude")):
        runs = {"protocol": str(world.protocol), "runs": ["dense", {"method": run}]}
        runs["runs"][1]["sparsity"] = 0.5
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(runs))

    def start(minutes: float) -> subprocess.Popen[str]:
        arguments = [tmp_path / "out", "--minutes", minutes, "--simulated", "--small"]
        arguments += ["--tests", FEW, "--speed-runs", tmp_path / "speed.yaml"]
        arguments += ["--record-runs", tmp_path / "records.yaml"]
        return subprocess.Popen(
            [sys.executable, "-m", "tools.gpu", *map(str, arguments)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return start


@needs_compiler
@pytest.mark.full
@pytest.mark.model
def test_the_command_is_cut_killed_continued_and_done(
    command: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    out = tmp_path / "out"

    def results() -> dict[str, Any]:
        return json.loads((out / "results.json").read_text())

    process = command(0.1)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert {one["status"] for one in results()["steps"].values()} & {"cut", "not started"}

    process = command(20)
    while not (out / "benchmarks" / "walk.json").exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = json.loads((out / "benchmarks" / "solver.json").read_text())

    process = command(20)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert {name: one["status"] for name, one in results()["steps"].items()} == dict.fromkeys(
        UNTIL, "done"
    )
    assert json.loads((out / "benchmarks" / "solver.json").read_text()) == before
    lines = (out / "tests.jsonl").read_text().splitlines()
    assert len(lines) == len(read(out / "tests.jsonl")) > 3  # no test ran twice
    assert results()["tests"]["count"] == {"passed": len(lines)}
    kernels = [row for row in results()["benchmarks"]["shapes"] if "2:4" in row["case"]]
    assert all("no 2:4 kernel of PyTorch runs here" in row["unavailable"] for row in kernels)
    assert len(kernels) == 2
    records = load_records([out / "records"])
    assert {record.method for record in records} == {"dense", "magnitude", "shortgpt"}
    assert {record.hardware.accelerator for record in records} == {"simulated accelerator"}
    page = (out / "summary.md").read_text()
    assert "| small, 2:4 kernels, decode | not available |" in page
    assert "| Records | sweep records | done |" in page

    steps_before = results()["steps"]
    process = command(20)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert said.count("already done") == len(UNTIL)
    assert results()["steps"] == steps_before


def test_every_step_has_a_share_of_the_time_in_order(tmp_path: Path) -> None:
    names = [
        step.name
        for step in steps(
            Choice(tmp_path, "cuda", False, "", dict.fromkeys(("speed", "records"), tmp_path))
        )
    ]
    assert names == list(UNTIL)
    assert list(UNTIL.values())[-1] == 1


def test_a_step_with_other_options_runs_again(tmp_path: Path) -> None:
    machine = {"accelerator": "a", "versions": {}, "commit": "", "dirty": False}
    machine |= {"cpu": "c", "cores": 2}
    results = Results(tmp_path, machine)
    sweeps = dict.fromkeys(("speed", "records"), tmp_path)
    for step in steps(Choice(tmp_path, "cuda", False, "", sweeps)):
        results.add(step, Ended("done", 1.0))
    again = Results(tmp_path, machine)
    small = steps(Choice(tmp_path, "cuda", True, "", sweeps))
    assert {step.name for step in small if not again.before(step)} == {*BENCHMARKS}
    for step in small:
        again.add(step, Ended("done", 1.0))
    seconds = {name: one["seconds"] for name, one in again.content["steps"].items()}
    assert seconds == {step.name: 1.0 if step.name in BENCHMARKS else 2.0 for step in small}


def test_unsteady_ratios_are_not_shown() -> None:
    row = {"case": "c", "ratio": "a / b", "median": 2.5, "low": 2.0, "high": 2.5, "unit": "s"}
    row |= {"first": 5.0, "second": 2.0, "peaks": None, "note": "", "unavailable": ""}
    for high, shown in ((2.5, "2.500"), (2.7, "not steady")):
        *_, line, _ = summary.rows("solver", {"benchmarks": {"solver": [row | {"high": high}]}})
        assert line.split(" | ")[2] == shown


def test_the_environment_adds_what_the_one_below_lacks(tmp_path: Path) -> None:
    wanted = {environment.name_of(line) for line in environment.requirements()}
    assert not wanted & environment.ABSENT
    assert wanted >= {"transformers", "pydantic", "peft", "pytest", "hypothesis"}
    (tmp_path / "wheels").mkdir()
    code = "import environment, pathlib\n"
    code += "environment.requirements = lambda: ['probe', 'pydantic']\n"
    code += "environment.create(pathlib.Path('made'), pathlib.Path('wheels'))"
    run = [sys.executable, "-c", code]
    where = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(ROOT / "tools" / "gpu")}}
    refused = subprocess.run(run, **where, capture_output=True, text=True)
    assert "make gpu-wheels PYTHON_VERSION=" in refused.stderr
    with zipfile.ZipFile(tmp_path / "wheels" / "probe-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("probe.py", "")
        wheel.writestr(
            "probe-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: probe\nVersion: 1\n"
        )
        wheel.writestr(
            "probe-1.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr("probe-1.dist-info/RECORD", "")
    subprocess.run(run, **where, check=True)
    asked = (
        "import probe, pydantic, importlib.metadata as m; print(probe.__file__, pydantic.__file__)"
    )
    done = subprocess.run(
        ["made/bin/python", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    added, below = done.stdout.split()
    assert str(tmp_path) in added
    assert str(tmp_path) not in below


def test_the_wheels_include_the_embedded_model_and_an_empty_torch(tmp_path: Path) -> None:
    pinned = [f"{member.package}=={member.version}" for member in (MODEL, *TEXTS.values())]
    assert wheels.embedded() == list(dict.fromkeys(pinned))
    wheels.stand_in(tmp_path)
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    command += [
        "--no-index",
        "--find-links",
        str(tmp_path),
        "--report",
        "-",
        f"torch=={wheels.TORCH}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (only,) = json.loads(done.stdout)["install"]
    assert only["metadata"]["version"] == wheels.TORCH
