"""Progress of another process, shown by the reporter of this one."""

from __future__ import annotations

from implementations.harness.progress import (
    ForwardedTasks,
    Forwarder,
    reporting,
    task,
    track,
)


class Recorder:
    """A reporter that keeps what it was told."""

    def __init__(self) -> None:
        self.open: dict[int, list] = {}
        self.ended: list[tuple] = []

    def start(self, description: str, total: int | None) -> int:
        number = len(self.open) + len(self.ended)
        self.open[number] = [description, 0, total]
        return number

    def advance(self, task: int, steps: int) -> None:
        self.open[task][1] += steps

    def describe(self, task: int, description: str) -> None:
        self.open[task][0] = description

    def stop(self, task: int) -> None:
        self.ended.append(tuple(self.open.pop(task)))


def test_tasks_of_two_processes_are_shown_beside_each_other():
    shown = Recorder()
    with reporting(shown):
        here = [ForwardedTasks("worker 1"), ForwardedTasks("worker 2")]
    there = [Forwarder(tasks.receive) for tasks in here]
    with reporting(there[0]), task("old name", 5) as first:
        with reporting(there[1]):
            list(track(range(3), "counting"))
        first.say("new name")
        first.advance(2)
        assert list(shown.open.values()) == [["worker 1: new name", 2, 5]]
    assert shown.ended == [("worker 2: counting", 3, 3), ("worker 1: new name", 2, 5)]


def test_tasks_of_a_dead_process_are_closed():
    shown = Recorder()
    with reporting(shown):
        here = ForwardedTasks("worker 1")
    Forwarder(here.receive).start("pruning", None)
    here.close()
    here.close()
    assert shown.open == {}
    assert shown.ended == [("worker 1: pruning", 0, None)]


def test_without_a_reporter_nothing_is_shown():
    with reporting(Forwarder(ForwardedTasks("worker 1").receive)):
        assert list(track(range(3), "counting")) == [0, 1, 2]
