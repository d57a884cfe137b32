"""Kill runs repeatedly while they save to the same folder: `python -m tests.harness.runs.kills`.

Each run is a fork of this process, so that imports cost no time. It is killed some milliseconds
after the folder reaches a given state, and the folder is checked. The last run may finish.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree

import torch

from implementations.harness.model.loading import load_model
from implementations.harness.prune.method import get
from implementations.harness.results.protocol import get_protocol
from implementations.harness.results.store import load_records
from implementations.harness.runs.job import Job, Setup
from implementations.harness.runs.run import run

MINUTE = 60


def states_of(folder: Path) -> dict[str, Callable[[], object]]:
    """Return the states of the folder at which a run is killed, each with its test."""
    record = "tiny-s0.5-seed0.json"
    method = folder / "runs" / "tiny" / "magnitude"
    return {
        "started": lambda: True,
        "dense": (folder / "runs/tiny/dense").exists,
        "locked for the record": (method / f".{record}.lock").exists,
        "partial record": lambda: list(method.glob(f".{record}.*.tmp")),
        "record": (method / record).exists,
        "locked for the model": (folder / ".out.lock").exists,
        "partial model": lambda: list(folder.glob(".out.partial-*")),
        "weights": lambda: list(folder.glob(".out.partial-*/model.safetensors")),
        "card": lambda: list(folder.glob(".out.partial-*/README.md")),
        "model": (folder / "out").exists,
    }


def forked(folder: Path, setup: Setup) -> int:
    """Start a run of magnitude in a fork of this process, with its output in a log file."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        log = os.open(folder.with_name("log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        job = Job(get("magnitude").configure())
        run(job, setup, runs=folder / "runs", checkpoint=folder / "out")
        code = 0
    except BaseException as error:
        os.write(2, f"{error!r}\n".encode())
    finally:
        os._exit(code)


def kill_once(folder: Path, setup: Setup, reached: Callable[[], object], delay: float) -> bool:
    """Kill a run `delay` seconds after `reached`; return whether it was still running."""
    child = forked(folder, setup)
    deadline = time.monotonic() + MINUTE
    while not reached() and not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        assert time.monotonic() < deadline, "the state was not reached in time"
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL), folder.with_name("log").read_text()
    return code != 0


def check(folder: Path) -> None:
    """Check that all files are complete and that a model never exists without its record."""
    records = load_records([folder / "runs"])
    if (folder / "out").exists():
        assert load_model(folder / "out").blocks
        assert [record.method for record in records].count("magnitude") == 1
        rmtree(folder / "out")  # as a user must before running it again


def hidden(folder: Path) -> list[str]:
    """Return the hidden files that killed processes left, except empty trial folders."""
    return sorted(path.name for path in folder.rglob(".*") if ".atlas-" not in str(path))


def main(protocol: str, place: str, count: str, seed: str = "0") -> None:
    """Kill `count` runs, let one finish, and print how many were killed and left hidden files."""
    torch.set_num_threads(1)
    folder = Path(place)
    named = get_protocol(protocol)
    setup = Setup(str(named.model), named)
    draw = random.Random(int(seed))
    states = list(states_of(folder).items())
    killed: Counter[str] = Counter()
    left = 0
    for number in range(int(count)):
        name, reached = states[number * 3 % len(states)]
        # A run takes one or two seconds, of which saving takes a tenth of a second.
        delay = (
            draw.uniform(0, 1.0) if name == "started" else draw.choice([0, draw.uniform(0, 0.02)])
        )
        killed[name] += kill_once(folder, setup, reached, delay)
        check(folder)
        left += bool(hidden(folder))
        for path in (folder / "runs").rglob("t*.json"):
            path.unlink()  # so that the next run passes through all states again
    _, status = os.waitpid(forked(folder, setup), 0)
    assert status == 0, folder.with_name("log").read_text()
    assert len(load_records([folder / "runs"])) == 2
    assert load_model(folder / "out").blocks
    assert hidden(folder) == [], hidden(folder)
    summary = f"{killed.total()} killed while running, {left} left hidden files, {dict(killed)}"
    sys.stdout.write(summary + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
