"""Kills runs that save, again and again in the same folder: `python -m tests.harness.runs.kills`.

Each run is a fork of this process, which has imported all, killed when a state of the folder is
seen and some milliseconds later. What must hold afterwards is checked; the last run may finish.
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
from implementations.harness.prune.registry import get
from implementations.harness.results.protocol import get_protocol
from implementations.harness.results.store import load_records
from implementations.harness.runs.job import Job, Setup
from implementations.harness.runs.run import run

MINUTE = 60


def seen(folder: Path) -> dict[str, Callable[[], object]]:
    """The states of the folder at which a run is killed, each with what tells it."""
    record = "tiny-s0.5-seed0.json"
    method = folder / "runs" / "tiny" / "magnitude"
    return {
        "started": lambda: True,
        "dense": (folder / "runs/tiny/dense").exists,
        "locked for the record": (method / f".{record}.lock").exists,
        "half a record": lambda: list(method.glob(f".{record}.*.tmp")),
        "record": (method / record).exists,
        "locked for the model": (folder / ".out.lock").exists,
        "half a model": lambda: list(folder.glob(".out.partial-*")),
        "weights": lambda: list(folder.glob(".out.partial-*/model.safetensors")),
        "card": lambda: list(folder.glob(".out.partial-*/README.md")),
        "model": (folder / "out").exists,
    }


def forked(folder: Path, setup: Setup) -> int:
    """Begin a run of magnitude in a process of its own, whose words go into a log."""
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


def kill_once(folder: Path, setup: Setup, tell: Callable[[], object], delay: float) -> bool:
    """Kill a run `delay` seconds after `tell`; return whether it was still at work."""
    child = forked(folder, setup)
    deadline = time.monotonic() + MINUTE
    while not tell() and not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        assert time.monotonic() < deadline, "it never came"
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL), folder.with_name("log").read_text()
    return code != 0


def check(folder: Path) -> None:
    """What is there is whole, and a model never lies there without its record."""
    records = load_records([folder / "runs"])
    if (folder / "out").exists():
        assert load_model(folder / "out").blocks
        assert [record.method for record in records].count("magnitude") == 1
        rmtree(folder / "out")  # as one must who runs it again


def hidden(folder: Path) -> list[str]:
    """What killed processes left under a folder, but for the empty one of a trial."""
    return sorted(path.name for path in folder.rglob(".*") if ".atlas-" not in str(path))


def main(protocol: str, place: str, count: str, seed: str = "0") -> None:
    """Kill `count` runs, let one finish, print how many were at work and what was left between."""
    torch.set_num_threads(1)
    folder = Path(place)
    named = get_protocol(protocol)
    setup = Setup(str(named.model), named)
    draw = random.Random(int(seed))
    states = list(seen(folder).items())
    killed: Counter[str] = Counter()
    left = 0
    for number in range(int(count)):
        name, tell = states[number * 3 % len(states)]
        # A run takes a second or two, the saving in it a tenth.
        delay = (
            draw.uniform(0, 1.0) if name == "started" else draw.choice([0, draw.uniform(0, 0.02)])
        )
        killed[name] += kill_once(folder, setup, tell, delay)
        check(folder)
        left += bool(hidden(folder))
        for path in (folder / "runs").rglob("t*.json"):
            path.unlink()  # so that each state is met anew
    _, status = os.waitpid(forked(folder, setup), 0)
    assert status == 0, folder.with_name("log").read_text()
    assert len(load_records([folder / "runs"])) == 2
    assert load_model(folder / "out").blocks
    assert hidden(folder) == [], hidden(folder)
    told = f"{killed.total()} killed at work, {left} left something hidden, {dict(killed)}"
    sys.stdout.write(told + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
