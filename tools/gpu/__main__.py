"""Run the parts of `make gpu` one after another, and write results and a summary."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console

from implementations.harness.results.files import write_atomically
from tools.command_line import fail, program
from tools.gpu import summary
from tools.gpu.steps import (
    BENCHMARKS,
    GRACE,
    SWEEPS,
    UNTIL,
    Choice,
    Ended,
    Step,
    run,
    steps,
    variables,
)
from tools.repository import REPOSITORY

LEAST = 5.0  # seconds under which no step is started
IDENTITY = ("accelerator", "versions", "commit")

console = Console(highlight=False)


class Results:
    """`results.json`: the machine, and the status and time of every step; kept up to date."""

    def __init__(self, out: Path, machine: dict[str, Any]) -> None:
        self.out, self.path = out, out / "results.json"
        self.content: dict[str, Any] = {"machine": machine, "steps": {}}
        if self.path.exists():
            self.content = json.loads(self.path.read_text(encoding="utf-8"))
            before = self.content["machine"]
            if changed := [name for name in IDENTITY if before[name] != machine[name]]:
                fail(
                    f"{out} has results with another {' and '.join(changed)}; name another folder: "
                    "make gpu OUT=..."
                )

    def status(self, name: str) -> str:
        """Return the status of a step, or '' before its first run."""
        return str(self.content["steps"].get(name, {}).get("status", ""))

    def before(self, step: Step) -> dict[str, Any]:
        """Return how the step ended before with the same options, or {}."""
        entry: dict[str, Any] = self.content["steps"].get(step.name, {})
        return entry if entry.get("command") == list(step.command) else {}

    def add(self, step: Step, ended: Ended) -> None:
        """Keep how a step ended; times of several calls are added up."""
        self.content["steps"][step.name] = {
            "part": step.part,
            "command": list(step.command),
            "status": ended.status,
            "seconds": round(self.before(step).get("seconds", 0.0) + ended.seconds, 1),
            "reason": ended.reason,
        }
        self.save()

    def save(self) -> None:
        """Write the results, with those of the steps, and the summary."""
        self.content |= summary.collect(self.out, BENCHMARKS)
        write_atomically(self.path, json.dumps(self.content, indent=2) + "\n")
        write_atomically(self.out / "summary.md", summary.markdown(self.content, self.out))


def main(
    out: Annotated[Path, typer.Argument(help="Folder for the results")],
    minutes: Annotated[float, typer.Option(min=0.1, help="Time limit in minutes")] = 9,
    started: Annotated[
        float | None, typer.Option(help="Unix time at which the limit starts")
    ] = None,
    wheels: Annotated[Path, typer.Option(help="Folder of `make gpu-wheels`")] = Path("none"),
    simulated: Annotated[
        bool, typer.Option("--simulated", help="Simulate an accelerator (needs g++)")
    ] = False,
    small: Annotated[bool, typer.Option("--small", help="Small sizes in the benchmarks")] = False,
    tests: Annotated[
        str, typer.Option(help="Run only tests that match this -k expression of pytest")
    ] = "",
    speed_runs: Annotated[Path, typer.Option(help="Sweep file for the speed")] = SWEEPS["speed"],
    record_runs: Annotated[Path, typer.Option(help="Sweep file for records")] = SWEEPS["records"],
) -> None:
    """Test and measure this machine's accelerator; run it again to continue."""
    clock = Clock(started or time.time(), 60 * minutes - GRACE)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also in the background
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    out = out.resolve()
    environment = variables(out, wheels, simulated=simulated)
    machine = probe(environment)
    chosen = Choice(
        *(out, machine["device"], small, tests),
        {"speed": speed_runs.resolve(), "records": record_runs.resolve()},
    )
    out.mkdir(parents=True, exist_ok=True)
    results = Results(out, machine)
    console.print(f"{machine['accelerator']}, torch {machine['versions']['torch']}")
    for step in steps(chosen):
        if results.before(step).get("status") == "done":
            console.print(f"{step.name}: already done")
            continue
        try:
            ended = perform(step, results, environment, clock)
        except KeyboardInterrupt:
            results.add(step, Ended("cut", 0.0, "interrupted"))
            sys.exit(130)
        results.add(step, ended)
        said = f"{step.name}: {ended.status}, {ended.seconds:.0f} s"
        console.print(f"{said}, {ended.reason}" if ended.reason else said, markup=False)
    results.save()
    console.print(f"{clock.passed:.0f} s in all; {out / 'summary.md'}", soft_wrap=True)
    sys.exit(any(results.status(step.name) == "failed" for step in steps(chosen)))


class Clock(NamedTuple):
    """The time for everything, in seconds, from a Unix time on."""

    start: float
    budget: float

    @property
    def passed(self) -> float:
        """Seconds since the start."""
        return time.time() - self.start

    def left(self, share: float) -> float:
        """Seconds until this share of the time is over."""
        return share * self.budget - self.passed


def perform(step: Step, results: Results, environment: dict[str, str], clock: Clock) -> Ended:
    """Run a step, if there is time and the step that it needs was done."""
    if step.needs and (status := results.status(step.needs)) != "done":
        reason = results.content["steps"][step.needs]["reason"]
        if status == "not available":
            return Ended(status, 0.0, f"no {step.needs}: {reason}")
        return Ended("not started", 0.0, f"waits for the step {step.needs!r}: {reason}")
    left = clock.left(UNTIL[step.name])
    if left < LEAST:
        return Ended("not started", 0.0, "no time was left")
    log = results.out / "logs" / f"{step.name.replace(' ', '-')}.log"
    ended = run(step, log, environment, left)
    if step.name == "model" and ended.status == "failed":  # it may be absent, which is no failure
        return ended._replace(status="not available")
    return ended


def probe(environment: dict[str, str]) -> dict[str, Any]:
    """Return device, hardware, versions and commit; exits with a message without accelerator."""
    command = [sys.executable, "-m", "implementations.harness.runs.benchmarks"]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        fail(f"the hardware and versions of this machine cannot be read:\n{done.stderr[-2000:]}")
    machine: dict[str, Any] = json.loads(done.stdout)
    if machine["accelerator"] is None:
        fail("PyTorch finds no accelerator here; to try the command, use OPTIONS=--simulated")
    return machine


if __name__ == "__main__":
    program(main)()
