"""Progress on standard error: bars in a terminal, else a line a minute."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from implementations.harness.cli import terminal
from implementations.harness.errors import escape
from implementations.harness.progress import reporting

SECONDS_PER_LINE = 60.0
"""Minimum time between two lines, so that the log of a long run stays short."""


@contextmanager
def show_progress() -> Iterator[None]:
    """Show the progress of the `with` block on standard error."""
    if not terminal.errors.is_terminal:
        with reporting(Lines()):
            yield
        return
    display = Progress(*columns(), console=terminal.errors, transient=True)
    with display, reporting(Bars(display)):
        yield


def columns() -> tuple[ProgressColumn, ...]:
    """Return the columns of a progress bar."""
    return (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(compact=True),
    )


class Bars:
    """Progress bars of nested tasks, each removed at its end."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def start(self, description: str, total: int | None) -> int:
        """Add a bar of `total` steps."""
        return int(self.progress.add_task(escape(description), total=total))

    def advance(self, task: int, steps: int) -> None:
        """Advance a bar."""
        self.progress.advance(TaskID(task), steps)

    def describe(self, task: int, description: str) -> None:
        """Change the description of a bar."""
        self.progress.update(TaskID(task), description=escape(description))

    def stop(self, task: int) -> None:
        """Remove a bar."""
        self.progress.remove_task(TaskID(task))


@dataclass
class _OpenTask:
    description: str
    total: int | None
    began: float
    done: int = 0

    def __str__(self) -> str:
        if self.total is None:
            return f"{self.description} {self.done:,}/?"
        left = ""
        if 0 < self.done < self.total:
            seconds = (time.monotonic() - self.began) / self.done * (self.total - self.done)
            left = f" (about {timedelta(seconds=round(seconds))} left)"
        return f"{self.description} {self.done:,}/{self.total:,}{left}"


class Lines:
    """Lines with the elapsed time and all open tasks, such as `0:12:00 pruning 7/30 (about ...`."""

    def __init__(self) -> None:
        self.tasks: dict[int, _OpenTask] = {}
        self.opened = 0
        self.began = self.printed = time.monotonic()

    def start(self, description: str, total: int | None) -> int:
        """Open a task of `total` steps."""
        self.opened += 1
        self.tasks[self.opened] = _OpenTask(description, total, time.monotonic())
        return self.opened

    def advance(self, task: int, steps: int) -> None:
        """Count steps, and print a line if the last one is old enough."""
        self.tasks[task].done += steps
        now = time.monotonic()
        if now - self.printed >= SECONDS_PER_LINE:
            self.printed = now
            elapsed = timedelta(seconds=round(now - self.began))
            tasks = ", ".join(str(task) for task in self.tasks.values())
            terminal.errors.print(f"{elapsed} {tasks}", highlight=False, soft_wrap=True)

    def describe(self, task: int, description: str) -> None:
        """Change the description of a task."""
        self.tasks[task].description = description

    def stop(self, task: int) -> None:
        """Close a task."""
        del self.tasks[task]
