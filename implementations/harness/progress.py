"""Progress of long loops, sent to the installed reporter; without one, nothing is shown."""

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Reporter(Protocol):
    """Interface for showing progress, implemented by the terminal and by tests."""

    def start(self, description: str, total: int | None) -> int:
        """Open a task of `total` steps (None: unknown) and return its number."""

    def advance(self, task: int, steps: int) -> None:
        """Report that `steps` more steps of `task` are done."""

    def describe(self, task: int, description: str) -> None:
        """Change the description of `task`."""

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


class Task:
    """An open task of the installed reporter."""

    def __init__(self, reporter: Reporter | None, number: int) -> None:
        self._reporter, self._number = reporter, number

    def advance(self, steps: int = 1) -> None:
        """Report that `steps` more steps are done."""
        if self._reporter is not None:
            self._reporter.advance(self._number, steps)

    def say(self, description: str) -> None:
        """Change the description of the task."""
        if self._reporter is not None:
            self._reporter.describe(self._number, description)


@contextmanager
def task(description: str, total: int | None = None) -> Iterator[Task]:
    """Open a task of `total` steps (None: unknown) for the duration of the `with` block."""
    reporter = _reporter.get()
    number = 0 if reporter is None else reporter.start(description, total)
    try:
        yield Task(reporter, number)
    finally:
        if reporter is not None:
            reporter.stop(number)


def track(steps: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield from `steps` and report each one as done."""
    if total is None and isinstance(steps, Sized):
        total = len(steps)
    with task(description, total) as open_task:
        for step in steps:
            yield step
            open_task.advance()


class Forwarder:
    """A reporter that sends its calls to another process: `send` gets their name and arguments."""

    def __init__(self, send: Callable[..., None]) -> None:
        self.send, self.opened = send, 0

    def start(self, description: str, total: int | None) -> int:
        """Open a task."""
        self.opened += 1
        self.send("start", self.opened, description, total)
        return self.opened

    def advance(self, task: int, steps: int) -> None:
        """Report steps of a task."""
        self.send("advance", task, steps)

    def describe(self, task: int, description: str) -> None:
        """Change the description of a task."""
        self.send("describe", task, description)

    def stop(self, task: int) -> None:
        """Close a task."""
        self.send("stop", task)


class ForwardedTasks:
    """Shows the tasks of another process, which has a `Forwarder`, by the reporter of this one."""

    def __init__(self, process: str) -> None:
        self._reporter, self._process = _reporter.get(), process
        self._numbers: dict[int, int] = {}  # of a task here, by its number in the other process

    def receive(self, call: str, task: int, *arguments: Any) -> None:
        """Repeat a call, with the name of the process before each description."""
        if self._reporter is None:
            return
        if call in ("start", "describe"):
            description, *rest = arguments
            arguments = (f"{self._process}: {description}", *rest)
        if call == "start":
            self._numbers[task] = self._reporter.start(*arguments)
        elif call == "stop":
            self._reporter.stop(self._numbers.pop(task))
        else:
            getattr(self._reporter, call)(self._numbers[task], *arguments)

    def close(self) -> None:
        """Close the tasks of a process that ended without closing them."""
        for task in list(self._numbers):
            self.receive("stop", task)
