"""Workers for many jobs: this process, several processes of this machine, or Ray actors.

A job that fails is reported, and the others continue. A job whose worker dies is started again in a
new worker, `ATTEMPTS` times in all, then reported as failed. If the main process is killed, workers
exit at once, also in the middle of a job.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import pickle
import secrets
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any, Generic, Protocol, TypeVar

import torch

from implementations.harness.errors import AtlasError, Unavailable
from implementations.harness.progress import ForwardedTasks, Forwarder, reporting
from implementations.harness.results.files import short_path

ATTEMPTS = 3  # a worker may die for reasons outside its job, such as another process's memory
NODE_CHECK = 10.0  # seconds between checks that Ray still runs on this machine

Job = TypeVar("Job")
Result = TypeVar("Result")
# Called once in each worker with its number; returns the function that runs a job there.
Make = Callable[[int], Callable[[Job], Result]]


@dataclass(frozen=True)
class JobResult(Generic[Result]):
    """The result of the job at `index`, or its error."""

    index: int
    result: Result | None = None
    error: str | None = None


def in_this_process(
    jobs: Sequence[Job], handle: Callable[[Job], Result]
) -> Iterator[JobResult[Result]]:
    """Run the jobs one after the other in this process."""
    for index, job in enumerate(jobs):
        yield attempt(handle, index, job)


def in_processes(
    jobs: Sequence[Job], make: Make[Job, Result], workers: int
) -> Iterator[JobResult[Result]]:
    """Run the jobs in `workers` processes that share the threads of this one.

    The reporter of this process also shows the progress inside the jobs.
    """
    workers = min(workers, len(jobs))
    threads = max(1, torch.get_num_threads() // max(workers, 1))

    def ready(busy: Collection[_Process]) -> list[_Process]:
        while True:
            connections = wait([worker.connection for worker in busy])
            readable = [worker for worker in busy if worker.connection in connections]
            if ended := [worker for worker in readable if worker.read()]:
                return ended

    return _share(jobs, workers, lambda number: _Process(make, number, threads), ready)


def on_ray(
    jobs: Sequence[Job], make: Make[Job, Result], workers: int, *, accelerators: int
) -> Iterator[JobResult[Result]]:
    """Run the jobs in `workers` Ray actors with `accelerators` each.

    Uses the cluster that this process is connected to, else the one in RAY_ADDRESS (`auto` for one
    started on this machine by `ray start`), else a new local cluster that other machines cannot
    reach and that ends with the jobs. Every machine of a cluster needs this package, and the model
    and texts under the same names.

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
        # If the node of this process is dead, actors stay pending forever.
        while not (finished := ray.wait(pending, timeout=NODE_CHECK)[0]):
            if not any(node["Alive"] and node["NodeID"] == own_node for node in ray.nodes()):
                raise Unavailable(
                    "Ray stopped on this machine, usually because memory ran out. The records "
                    "written so far are kept: run the same command again to continue"
                )
        return [worker for worker in busy if worker.pending in finished]

    actor = ray.remote(num_cpus=1, num_gpus=accelerators)(_JobRunner)
    try:
        yield from _share(
            jobs, workers, lambda number: _RayActor(ray, actor.remote(make, number), number), ready
        )
    finally:
        if not connected:
            ray.shutdown()


def _connect(ray: ModuleType) -> None:
    """Connect to the cluster in RAY_ADDRESS, or start one that other machines cannot reach."""
    address = os.environ.get("RAY_ADDRESS") or "local"
    if address != "local":
        try:
            ray.init(address, log_to_driver=False)
        except (ConnectionError, ValueError) as error:
            raise Unavailable(
                f"RAY_ADDRESS: cannot connect to the Ray cluster {short_path(address)}: {error}"
            ) from error
        return
    # Otherwise Ray writes a token into the home folder.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    # Ray replaces `_node_ip_address="127.0.0.1"` by a public address unless clusters are disabled,
    # as they are on macOS and Windows.
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
            "--ray: Ray is not installed; run `pip install 'pruning-atlas[scale]'` or leave out "
            "--ray"
        )


def attempt(handle: Callable[[Job], Result], index: int, job: Job) -> JobResult[Result]:
    """Run one job and return its result or error message."""
    try:
        return JobResult(index, handle(job))
    except AtlasError as error:
        return JobResult(index, error=str(error))
    except Exception as error:  # a bug in one method must not stop the other jobs
        return JobResult(index, error=f"{type(error).__name__}: {error}")


class _WorkerDied(Exception):
    """The worker died; the message says why."""


class _Worker(Protocol):
    """Runs one job at a time outside this process."""

    number: int

    def send(self, index: int, job: Any) -> None:
        """Start a job."""

    def receive(self) -> JobResult[Any]:
        """Return the result of the job; raises `_WorkerDied`."""

    def stop(self) -> None:
        """End the worker immediately."""


AnyWorker = TypeVar("AnyWorker", bound=_Worker)


def _share(
    jobs: Sequence[Job],
    workers: int,
    start: Callable[[int], AnyWorker],
    ready: Callable[[Collection[AnyWorker]], list[AnyWorker]],
) -> Iterator[JobResult[Any]]:
    """Distribute the jobs to workers that `start` creates; `ready` waits for finished ones."""
    waiting = deque(enumerate(jobs))
    busy: dict[AnyWorker, tuple[int, Job]] = {}
    deaths: Counter[int] = Counter()

    def assign(number: int, worker: AnyWorker | None = None) -> None:
        if waiting:
            worker = worker or start(number)
            busy[worker] = waiting.popleft()
            worker.send(*busy[worker])
        elif worker:
            worker.stop()  # frees its memory and its place on Ray

    try:
        for number in range(workers):
            assign(number)
        while busy:
            for worker in ready(busy):
                index, job = busy.pop(worker)
                try:
                    done = worker.receive()
                except _WorkerDied as death:
                    worker.stop()
                    deaths[index] += 1
                    retry = deaths[index] < ATTEMPTS
                    if retry:
                        waiting.append((index, job))  # last, when more memory may be free
                    assign(worker.number)
                    if retry:
                        continue
                    done = JobResult(index, error=f"{ATTEMPTS} workers died running it: {death}")
                else:
                    assign(worker.number, worker)
                yield done
    finally:
        for worker in busy:
            worker.stop()


class _JobRunner:
    """Runs jobs inside a worker; calls `make` at the first job."""

    def __init__(self, make: Make[Any, Any], number: int) -> None:
        self.make, self.number = make, number
        self.handle: Callable[[Any], Any] | None = None

    def attempt(self, index: int, job: Any) -> JobResult[Any]:
        return attempt(self._run, index, job)

    def _run(self, job: Any) -> Any:
        if self.handle is None:
            self.handle = self.make(self.number)
        return self.handle(job)


class _RayActor:
    """A worker that is a Ray actor."""

    def __init__(self, ray: ModuleType, actor: Any, number: int) -> None:
        self.ray, self.actor, self.number = ray, actor, number
        self.pending: Any = None

    def send(self, index: int, job: Any) -> None:
        self.pending = self.actor.attempt.remote(index, job)

    def receive(self) -> JobResult[Any]:
        try:
            done: JobResult[Any] = self.ray.get(self.pending)
        except self.ray.exceptions.RayError as error:
            raise _WorkerDied(str(error).splitlines()[-1].strip()) from error
        return done

    def stop(self) -> None:
        self.ray.kill(self.actor)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Delay Ctrl-C; processes started inside the `with` block never see it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Process:
    """A worker that is a process of this machine."""

    def __init__(self, make: Make[Any, Any], number: int, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.number = number
        self.connection, other_end = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=_serve, args=(other_end, make, number, threads), daemon=True
        )
        resource_tracker.ensure_running()  # before blocking, because its start unblocks Ctrl-C
        with _interrupts_blocked():
            self.process.start()
        other_end.close()  # so that the pipe closes when the process dies
        self.tasks = ForwardedTasks(f"worker {number + 1}")
        self.done: JobResult[Any] | None = None

    def send(self, index: int, job: Any) -> None:
        with suppress(BrokenPipeError):  # the process died; `receive` raises
            self.connection.send((index, pickle.dumps(job)))

    def read(self) -> bool:
        """Read a message; return whether the job or the process has ended."""
        try:
            message = self.connection.recv()
        except (EOFError, OSError):  # OSError: it died while sending
            return True
        if isinstance(message, JobResult):
            self.done = message
            return True
        self.tasks.receive(*message)
        return False

    def receive(self) -> JobResult[Any]:
        done, self.done = self.done, None
        if done is None:
            raise _WorkerDied(self._cause_of_death())
        return done

    def stop(self) -> None:
        self.tasks.close()
        self.connection.close()
        self.process.terminate()
        self.process.join()

    def _cause_of_death(self) -> str:
        self.process.join()
        code = self.process.exitcode or 0
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        return f"the process ended {how}, usually because memory ran out"


def _unpickling(handle: Callable[[Any], Any]) -> Callable[[bytes], Any]:
    """Let `handle` take pickled jobs, so that an error of unpickling is one of the job."""
    return lambda job: handle(pickle.loads(job))


def _exit_with_main_process() -> None:
    """Wait until the main process has ended, then end this one, whatever it is doing."""
    main = multiprocessing.parent_process()
    assert main is not None
    main.join()
    os._exit(1)


def _serve(connection: Connection, make: Make[Any, Any], number: int, threads: int) -> None:
    """Run jobs until the pipe closes or the main process is killed."""
    # The main process, which stops its workers at Ctrl-C, started this one with the signal blocked.
    threading.Thread(target=_exit_with_main_process, daemon=True).start()
    torch.set_num_threads(threads)
    runner = _JobRunner(lambda number: _unpickling(make(number)), number)
    with reporting(Forwarder(lambda *call: connection.send(call))):
        while True:
            try:
                index, job = connection.recv()
                connection.send(runner.attempt(index, job))
            except (EOFError, ConnectionError):  # the main process closed its end
                return
