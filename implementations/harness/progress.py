"""Progress of long loops, reported to whoever listens; silent when nobody does."""

from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar

T = TypeVar("T")


class Reporter(Protocol):
    """What shows progress: the terminal of `atlas`, or a test that counts."""

    def start(self, description: str, total: int | None) -> int:
        """Open a task of `total` steps (None: unknown) and return its number."""

    def advance(self, task: int, steps: int) -> None:
        """Say that `steps` more steps of `task` are done."""

    def stop(self, task: int) -> None:
        """Close `task`."""


_reporter: ContextVar[Reporter | None] = ContextVar("reporter", default=None)


@contextmanager
def reporting(reporter: Reporter) -> Iterator[None]:
    """Send the progress of every `track` inside the `with` block to `reporter`."""
    token = _reporter.set(reporter)
    try:
        yield
    finally:
        _reporter.reset(token)


def track(steps: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield from `steps`, telling the installed reporter after each one."""
    reporter = _reporter.get()
    if reporter is None:
        yield from steps
        return
    if total is None and isinstance(steps, Sized):
        total = len(steps)
    task = reporter.start(description, total)
    try:
        for step in steps:
            yield step
            reporter.advance(task, 1)
    finally:
        reporter.stop(task)
