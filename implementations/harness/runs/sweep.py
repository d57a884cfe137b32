"""Many runs: what has a record is skipped, what fails is reported, the rest goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from implementations.harness.errors import BadInput, Unavailable
from implementations.harness.model.devices import parse_device
from implementations.harness.progress import track
from implementations.harness.prune.journal import open_journal
from implementations.harness.results.record import DENSE, Record
from implementations.harness.results.store import check_record, load_records, publish_record
from implementations.harness.runs import environment, workers
from implementations.harness.runs.job import Job, Setup
from implementations.harness.runs.recording import make_record
from implementations.harness.runs.run import (
    check_outputs,
    check_outside,
    dense_record,
    journal_of,
    keep,
)
from implementations.harness.runs.workbench import Workbench


@dataclass(frozen=True)
class Summary:
    """What a sweep did: the records that there are of its runs now, and what went wrong."""

    records: tuple[Record, ...]
    skipped: int
    """Records that were there before, with the same request and versions."""
    failures: tuple[tuple[Job, str], ...]


def sweep(
    jobs: Sequence[Job],
    setup: Setup,
    *,
    runs: Path,
    count: int = 1,
    ray: bool = False,
    publish: bool = False,
) -> Summary:
    """Run all jobs that have no record with these versions under `runs` yet, in `count` workers.

    The dense model is measured first, once, or once a seed where it is to be recovered as well.
    Each record is written as soon as its run ends, so a sweep that is killed can be started again
    and skips what is done. A record that cannot be written, on a full disk for example, goes into a
    temporary folder; its run is among the failures, whose message names the file. With `publish`
    all records of the sweep, those that were there before included, are put into the methods'
    folders at the end.

    Raises:
        BadInput: there are no jobs, or the model, protocol or folder will not do; a single job
            that will not do is among the failures instead.
        Unavailable: something the whole sweep needs is missing, or the record of the dense model
            could not be written under `runs`.
    """
    if not jobs:
        raise BadInput("the sweep has no runs; name some")
    _check(jobs, setup, runs, ray, publish)
    bench = Workbench(setup)
    there = load_records([runs / setup.protocol.name])
    have = {record.key: record for record in there if record.relevant_versions == bench.versions}
    keys = [bench.key(job) for job in jobs]
    skipped = sum(key in have for key in keys)
    dense = {bench.key(job.dense): dense_record(bench, runs, job).record for job in jobs}
    have |= dense
    todo = [job for job, key in zip(jobs, keys, strict=True) if key not in have]
    handle = Pruner(bench, dense, runs) if count == 1 and not ray else None
    del bench  # workers of their own load the model themselves
    failures = []
    for done in track(_execute(todo, setup, dense, runs, handle, count, ray), "runs", len(todo)):
        job, record = todo[done.index], done.result
        if record is None:
            failures.append((job, done.error or "no result"))
            continue
        try:
            keep(record, runs)
        except Unavailable as error:
            failures.append((job, str(error)))
        else:
            have[record.key] = record
    records = tuple(have[key] for key in dict.fromkeys(keys) if key in have)
    if publish:
        for record in (dense | {record.key: record for record in records}).values():
            publish_record(record)
    return Summary(records, skipped, tuple(failures))


class Pruner:
    """Does jobs in a worker with a model loaded there once.

    Searches keep what they have paid for under `runs`, where the worker can reach it.
    """

    def __init__(
        self, bench: Workbench, dense: Mapping[str, Record], runs: Path | None = None
    ) -> None:
        self.bench, self.dense, self.runs = bench, dense, runs

    def __call__(self, job: Job) -> Record:
        """Run one job; what it raises is the job's failure."""
        dense = self.dense[self.bench.key(job.dense)]
        if job.method is None:
            return dense
        kept = None if self.runs is None else journal_of(self.bench, job, self.runs)
        with open_journal(kept):
            found, _ = self.bench.measure(job)
        return make_record(self.bench, job, found, dense)


def make_pruner(
    setup: Setup, dense: Mapping[str, Record], runs: Path | None, number: int
) -> Pruner:
    """Load the model in worker `number`, on its own accelerator where there are several."""
    return Pruner(Workbench(replace(setup, device=device_of(setup.device, number))), dense, runs)


def device_of(device: str, number: int) -> str:
    """Share the accelerators of this machine out among workers; one that is numbered is meant."""
    found = parse_device(device)
    if found.type == "cpu" or found.index is not None:
        return device
    return f"{found.type}:{number % torch.accelerator.device_count()}"


def _check(jobs: Sequence[Job], setup: Setup, runs: Path, ray: bool, publish: bool) -> None:
    check_outputs(runs, None)
    check_outside(runs, setup.model)
    for slug in {DENSE, *(job.slug for job in jobs)}:
        check_record(runs, setup.protocol.name, slug)
    if ray:
        workers.check_ray()
    if publish:
        environment.require_checkout("--publish")


def _execute(
    jobs: Sequence[Job],
    setup: Setup,
    dense: Mapping[str, Record],
    runs: Path,
    handle: Pruner | None,
    count: int,
    ray: bool,
) -> Iterator[workers.Done[Record]]:
    if handle is not None:
        return workers.here(jobs, handle)
    # A worker on another machine cannot reach the folder of runs.
    make = partial(make_pruner, setup, dense, None if ray else runs)
    if ray:
        accelerators = 0 if parse_device(setup.device).type == "cpu" else 1
        return workers.on_ray(jobs, make, count, accelerators=accelerators)
    return workers.in_processes(jobs, make, count)
