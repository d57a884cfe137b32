"""Doing many jobs: here, in several processes of this machine, or on Ray.

A job that fails is reported and the others go on. One that takes its worker down is tried again in
a new one; if it always does, that is reported too. When the main process is killed, its workers
notice and end.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import secrets
import signal
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any, Generic, Protocol, TypeVar

import torch

from implementations.harness.errors import AtlasError, Unavailable
from implementations.harness.results.places import shown

ATTEMPTS = 3  # for a job whose worker dies: the machine may go, or a neighbour take its memory
NODE_CHECK = 10.0  # seconds between two looks at whether Ray still runs on this machine

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

    def ready(busy: Collection[_Process]) -> list[_Process]:
        found = wait([worker.connection for worker in busy])
        return [worker for worker in busy if worker.connection in found]

    return _share(jobs, workers, lambda number: _Process(make, number, threads), ready)


def on_ray(
    jobs: Sequence[Job], make: Make[Job, Result], workers: int, *, accelerators: int
) -> Iterator[Done[Result]]:
    """Do the jobs in `workers` Ray actors with `accelerators` each.

    The cluster is the one this process is connected to, else the one in RAY_ADDRESS (`auto` for the
    one that `ray start` started on this machine), else a new one that only this machine can reach
    and that ends with the jobs. The machines of a cluster need this package, and the model and
    texts under the same names.

    Raises:
        Unavailable: Ray is not installed, the cluster in RAY_ADDRESS cannot be reached, or Ray
            stopped on this machine.
    """
    check_ray()
    import ray

    connected = ray.is_initialized()
    if not connected:
        _connect(ray)
    own_node = ray.get_runtime_context().get_node_id()

    def ready(busy: Collection[_RayActor]) -> list[_RayActor]:
        pending = [worker.pending for worker in busy]
        # Without its own node this process gets no worker: an actor would stay pending forever.
        while not (finished := ray.wait(pending, timeout=NODE_CHECK)[0]):
            if not any(node["Alive"] and node["NodeID"] == own_node for node in ray.nodes()):
                raise Unavailable(
                    "Ray stopped on this machine; out of memory is the usual reason. The records "
                    "written so far are kept: run the same command again to do the rest"
                )
        return [worker for worker in busy if worker.pending in finished]

    actor = ray.remote(num_cpus=1, num_gpus=accelerators)(_Doer)
    try:
        yield from _share(
            jobs, workers, lambda number: _RayActor(ray, actor.remote(make, number), number), ready
        )
    finally:
        if not connected:
            ray.shutdown()


def _connect(ray: ModuleType) -> None:
    """Connect to the cluster in RAY_ADDRESS, or start one that only this machine can reach."""
    address = os.environ.get("RAY_ADDRESS") or "local"
    if address != "local":
        try:
            ray.init(address, log_to_driver=False)
        except (ConnectionError, ValueError) as error:
            raise Unavailable(
                f"RAY_ADDRESS: no connection to the Ray cluster {shown(address)}: {error}"
            ) from error
        return
    # A token of its own, so that Ray does not write one into the home folder.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    # Ray replaces `_node_ip_address="127.0.0.1"` by the address that other machines reach, unless
    # clusters are switched off, as they are on macOS and Windows.
    constants = ray._private.ray_constants
    clusters, constants.ENABLE_RAY_CLUSTER = constants.ENABLE_RAY_CLUSTER, False
    try:
        ray.init("local", log_to_driver=False, include_dashboard=False)
    finally:
        constants.ENABLE_RAY_CLUSTER = clusters


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


class _Died(Exception):
    """The worker is gone, and why."""


class _Worker(Protocol):
    """Does one job at a time, somewhere else."""

    number: int

    def send(self, index: int, job: Any) -> None:
        """Have it begin a job."""

    def receive(self) -> Done[Any]:
        """Take what became of the job; raises `_Died`."""

    def stop(self) -> None:
        """End it now, whatever it does."""


AnyWorker = TypeVar("AnyWorker", bound=_Worker)


def _share(
    jobs: Sequence[Job],
    workers: int,
    hire: Callable[[int], AnyWorker],
    ready: Callable[[Collection[AnyWorker]], list[AnyWorker]],
) -> Iterator[Done[Any]]:
    """Share the jobs out among workers that `hire` makes by number; `ready` waits for some."""
    waiting = deque(enumerate(jobs))
    busy: dict[AnyWorker, tuple[int, Job]] = {}
    deaths: Counter[int] = Counter()

    def occupy(number: int, worker: AnyWorker | None = None) -> None:
        if waiting:
            worker = worker or hire(number)
            busy[worker] = waiting.popleft()
            worker.send(*busy[worker])
        elif worker:
            worker.stop()  # what it held (memory, a place on Ray) is free for the others

    try:
        for number in range(workers):
            occupy(number)
        while busy:
            for worker in ready(busy):
                index, job = busy.pop(worker)
                try:
                    done = worker.receive()
                except _Died as death:
                    worker.stop()
                    deaths[index] += 1
                    again = deaths[index] < ATTEMPTS
                    if again:
                        waiting.append((index, job))  # last: by then there may be more memory
                    occupy(worker.number)
                    if again:
                        continue
                    done = Done(index, error=f"{ATTEMPTS} workers died of it: {death}")
                else:
                    occupy(worker.number, worker)
                yield done
    finally:
        for worker in busy:
            worker.stop()


class _Doer:
    """What runs in a worker: `make` is called there, at the first job."""

    def __init__(self, make: Make[Any, Any], number: int) -> None:
        self.make, self.number = make, number
        self.handle: Callable[[Any], Any] | None = None

    def attempt(self, index: int, job: Any) -> Done[Any]:
        return attempt(self._do, index, job)

    def _do(self, job: Any) -> Any:
        if self.handle is None:
            self.handle = self.make(self.number)
        return self.handle(job)


class _RayActor:
    """An actor somewhere in the cluster."""

    def __init__(self, ray: ModuleType, actor: Any, number: int) -> None:
        self.ray, self.actor, self.number = ray, actor, number
        self.pending: Any = None

    def send(self, index: int, job: Any) -> None:
        self.pending = self.actor.attempt.remote(index, job)

    def receive(self) -> Done[Any]:
        try:
            done: Done[Any] = self.ray.get(self.pending)
        except self.ray.exceptions.RayError as error:
            raise _Died(str(error).splitlines()[-1].strip()) from error
        return done

    def stop(self) -> None:
        self.ray.kill(self.actor)


class _Process:
    """A process of this machine."""

    def __init__(self, make: Make[Any, Any], number: int, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.number = number
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=_serve, args=(theirs, make, number, threads), daemon=True
        )
        self.process.start()
        theirs.close()  # so that its death is the end of the pipe

    def send(self, index: int, job: Any) -> None:
        with suppress(BrokenPipeError):  # it died: receiving will tell
            self.connection.send((index, job))

    def receive(self) -> Done[Any]:
        try:
            done: Done[Any] = self.connection.recv()
        except (EOFError, OSError) as error:  # the second one where it died in the middle of a word
            raise _Died(self._death()) from error
        return done

    def stop(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.join()

    def _death(self) -> str:
        self.process.join()
        code = self.process.exitcode or 0
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        return f"its process ended {how}; out of memory is the usual reason"


def _serve(connection: Connection, make: Make[Any, Any], number: int, threads: int) -> None:
    """Do jobs until the pipe closes, which it also does when the main process is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process ends us
    torch.set_num_threads(threads)
    doer = _Doer(make, number)
    while True:
        try:
            index, job = connection.recv()
            connection.send(doer.attempt(index, job))
        except (EOFError, BrokenPipeError):
            return
