"""Doing many jobs: here, in several processes of this machine, or on Ray.

A job that fails, or takes its whole process down, is reported and the others go on. When the main
process is killed, its workers notice and end.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

import torch

from implementations.harness.errors import AtlasError, Unavailable

Job = TypeVar("Job")
Result = TypeVar("Result")
# Called with the worker's number, once in each worker, it returns what does a job there.
Make = Callable[[int], Callable[[Job], Result]]


@dataclass(frozen=True)
class Done(Generic[Result]):
    """The result of the job at `index`, or why there is none."""

    index: int
    result: Result | None = None
    error: str | None = None


def here(jobs: Sequence[Job], handle: Callable[[Job], Result]) -> Iterator[Done[Result]]:
    """Do the jobs one after the other in this process."""
    for index, job in enumerate(jobs):
        yield attempt(handle, index, job)


def in_processes(
    jobs: Sequence[Job], make: Make[Job, Result], workers: int
) -> Iterator[Done[Result]]:
    """Do the jobs in `workers` processes that share the threads of this one."""
    workers = min(workers, len(jobs))
    threads = max(1, torch.get_num_threads() // max(workers, 1))
    waiting = list(enumerate(jobs))[::-1]
    busy: dict[Connection, tuple[_Worker, int]] = {}
    try:
        for number in range(workers):
            _give(_Worker(make, number, threads), waiting, busy)
        while busy:
            ready = wait(list(busy))
            for connection in [connection for connection in busy if connection in ready]:
                worker, index = busy.pop(connection)
                try:
                    done = worker.connection.recv()
                except EOFError:
                    done = Done(index, error=worker.death())
                    worker = _Worker(make, worker.number, threads)
                _give(worker, waiting, busy)
                yield done
    finally:
        for worker, _ in busy.values():
            worker.stop()


def on_ray(
    jobs: Sequence[Job], make: Make[Job, Result], workers: int, *, accelerators: int
) -> Iterator[Done[Result]]:
    """Do the jobs in `workers` Ray actors with `accelerators` each; uses the cluster at hand.

    Raises:
        Unavailable: Ray is not installed.
    """
    check_ray()
    import ray
    from ray.util import ActorPool

    ray.init(ignore_reinit_error=True, log_to_driver=False, include_dashboard=False)
    try:
        actor = ray.remote(num_cpus=1, num_gpus=accelerators)(_Actor)
        pool = ActorPool([actor.remote(make, n) for n in range(min(workers, len(jobs)))])
        yield from pool.map_unordered(
            lambda actor, job: actor.attempt.remote(*job), list(enumerate(jobs))
        )
    finally:
        ray.shutdown()


def check_ray() -> None:
    """Raise `Unavailable` unless Ray is installed."""
    if importlib.util.find_spec("ray") is None:
        raise Unavailable(
            "Ray is not installed: pip install 'pruning-atlas[scale]', or use --workers alone"
        )


def attempt(handle: Callable[[Job], Result], index: int, job: Job) -> Done[Result]:
    """Do one job; an error of any kind becomes its message."""
    try:
        return Done(index, handle(job))
    except AtlasError as error:
        return Done(index, error=str(error))
    except Exception as error:  # a defect in one method must not end the others
        return Done(index, error=f"{type(error).__name__}: {error}")


class _Actor:
    """What runs in a Ray actor: `make` is called there, at the first job."""

    def __init__(self, make: Make[Any, Any], number: int) -> None:
        self.make, self.number = make, number
        self.handle: Callable[[Any], Any] | None = None

    def attempt(self, index: int, job: Any) -> Done[Any]:
        return attempt(self._do, index, job)

    def _do(self, job: Any) -> Any:
        if self.handle is None:
            self.handle = self.make(self.number)
        return self.handle(job)


class _Worker:
    """A process of this machine that does jobs sent to it."""

    def __init__(self, make: Make[Any, Any], number: int, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.number = number
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=_serve, args=(theirs, make, number, threads), daemon=True
        )
        self.process.start()
        theirs.close()  # so that its death is the end of the pipe

    def death(self) -> str:
        """Say how the process ended."""
        self.process.join()
        code = self.process.exitcode or 0
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        return f"its process ended {how}; out of memory is the usual reason"

    def stop(self) -> None:
        """End the process now."""
        self.connection.close()
        self.process.terminate()
        self.process.join()


def _give(
    worker: _Worker, waiting: list[tuple[int, Any]], busy: dict[Connection, tuple[_Worker, int]]
) -> None:
    """Send the worker the next job, or home."""
    if not waiting:
        worker.stop()
        return
    index, job = waiting.pop()
    with suppress(BrokenPipeError):  # it died: reading will tell
        worker.connection.send((index, job))
    busy[worker.connection] = worker, index


def _serve(connection: Connection, make: Make[Any, Any], number: int, threads: int) -> None:
    """Do jobs until the pipe closes, which it also does when the main process is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process ends us
    torch.set_num_threads(threads)
    actor = _Actor(make, number)
    while True:
        try:
            index, job = connection.recv()
            connection.send(actor.attempt(index, job))
        except (EOFError, BrokenPipeError):
            return
