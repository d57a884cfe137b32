"""Jobs that fail in every possible way, for tests of all kinds of workers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from implementations.harness.errors import NumericsError
from implementations.harness.progress import task, track
from implementations.harness.runs.workers import JobResult

ODD_JOBS = [1, "fail", 2, "die", 3, "defect", 4]


def square_or_trouble(number: int, job: int | str | Path) -> int:
    """Run a job in a worker; a top-level function, so that it can be pickled."""
    if job == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "count":
        return len(list(track(range(3), "counting")))
    if job == "rename":
        with task("old name", 5) as renamed:
            renamed.say("new name")
            renamed.advance(2)
        return 0
    if job == "sleep":
        time.sleep(600)
    if job == "fail":
        raise NumericsError("block 3 is not finite")
    if job == "defect":
        raise KeyError("oops")
    if isinstance(job, Path):
        return die_at_first(job)
    return int(job) ** 2


def die_at_first(deaths: Path) -> int:
    """Kill this process at the first call; return the number of deaths at the second."""
    with deaths.open("a") as file:
        file.write("x")
    if deaths.read_text() == "x":
        with task("dying"):
            os.kill(os.getpid(), signal.SIGKILL)
    return len(deaths.read_text()) - 1


class Changed:
    """A job that cannot be unpickled."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return refuse, ()


def refuse() -> None:
    raise NumericsError("the method changed while it was used")


def make_square(number: int) -> Callable[[int | str | Path], int]:
    return partial(square_or_trouble, number)


def check_odd_jobs(done: Iterable[JobResult[int]]) -> None:
    """Check that good jobs have results, the others have errors, and none is missing."""
    by_index = {one.index: one for one in done}
    assert sorted(by_index) == list(range(len(ODD_JOBS)))
    assert [by_index[i].result for i in (0, 2, 4, 6)] == [1, 4, 9, 16]
    assert by_index[1].error == "block 3 is not finite"
    assert by_index[5].error == "KeyError: 'oops'"
    death = by_index[3].error
    assert death is not None
    assert death.startswith("3 workers died running it: ")
    assert "memory" in death
