"""Sweeps of many runs: skip those that already have a record, and continue after failures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from implementations.harness.errors import BadInput, Unavailable
from implementations.harness.model.execution import parse_device
from implementations.harness.progress import track
from implementations.harness.prune.parallel import launched
from implementations.harness.results.record import DENSE, Record
from implementations.harness.results.store import check_record, load_records, publish_record
from implementations.harness.runs import workers
from implementations.harness.runs.job import Job, Setup
from implementations.harness.runs.run import (
    check_outputs,
    check_outside,
    check_publishable,
    dense_record,
    save_or_rescue,
)
from implementations.harness.runs.workbench import Workbench


@dataclass(frozen=True)
class Summary:
    """Result of a sweep: the new and existing records of its runs, and the failures."""

    records: tuple[Record, ...]
    skipped: int
    """Number of runs that already had a record with the same key and versions."""
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
    """Run all jobs without a record of the same versions under `runs`, in `count` workers.

    The dense model is measured first: once, or once per seed if it is fine-tuned. Each record is
    written as soon as its run ends, so a killed sweep continues where it stopped. A record that
    cannot be written, for example on a full disk, goes to a temporary folder and its run counts as
    failed; the message names the file. With `publish`, all records of the sweep, including existing
    ones, are written to the methods' folders at the end.

    Raises:
        BadInput: there are no jobs, or the model, protocol or folder is invalid; an invalid job
            is one of the failures instead.
        Unavailable: something that the whole sweep needs is missing, or the dense record could not
            be written under `runs`.
    """
    if not jobs:
        raise BadInput("the sweep has no runs; give at least one")
    if launched() > 1:
        raise BadInput("torchrun cannot be used with a sweep; use --workers or --ray instead")
    _check(jobs, setup, runs, ray, publish)
    bench = Workbench(setup)
    existing = load_records([runs / setup.protocol.name])
    by_key = {r.key: r for r in existing if r.relevant_versions == bench.versions}
    keys = [bench.key(job) for job in jobs]
    skipped = sum(key in by_key for key in keys)
    by_dense_key = {bench.key(job.dense): job for job in jobs}
    dense = {key: dense_record(bench, runs, job).record for key, job in by_dense_key.items()}
    by_key |= dense
    todo = [job for job, key in zip(jobs, keys, strict=True) if key not in by_key]
    handle = Pruner(bench, dense) if count == 1 and not ray else None
    del bench  # separate workers load the model themselves
    failures = []
    results = _execute(todo, setup, dense, handle, count, ray)
    for done in track(results, "runs", len(todo)):
        job, record = todo[done.index], done.result
        if record is None:
            failures.append((job, done.error or "no result"))
            continue
        try:
            save_or_rescue(record, runs)
        except Unavailable as error:
            failures.append((job, str(error)))
        else:
            by_key[record.key] = record
    records = tuple(by_key[key] for key in dict.fromkeys(keys) if key in by_key)
    if publish:
        for record in (dense | {record.key: record for record in records}).values():
            publish_record(record)
    return Summary(records, skipped, tuple(failures))


class Pruner:
    """Runs jobs in one worker, which loads the model once."""

    def __init__(self, bench: Workbench, dense: Mapping[str, Record]) -> None:
        self.bench, self.dense = bench, dense

    def __call__(self, job: Job) -> Record:
        """Run one job; an exception makes the job a failure."""
        dense = self.dense.get(self.bench.key(job.dense))
        if dense is None:
            raise BadInput(
                "the processor, texts or model of this worker differ from those of the machine "
                "that measured the dense model; use equal machines"
            )
        measured, _ = self.bench.measure(job)
        return self.bench.record(job, measured, dense)


def make_pruner(setup: Setup, dense: Mapping[str, Record], number: int) -> Pruner:
    """Load the model in worker `number`, on its own accelerator if there are several."""
    device, accelerator = setup.device, setup.accelerator
    own = replace(
        setup,
        device=device_of(device, number),
        accelerator=accelerator and device_of(accelerator, number),
    )
    return Pruner(Workbench(own), dense)


def device_of(device: str, number: int) -> str:
    """Return the device of worker `number`: accelerators are shared unless `device` is numbered."""
    parsed = parse_device(device)
    if parsed.type == "cpu" or parsed.index is not None:
        return device
    return f"{parsed.type}:{number % torch.accelerator.device_count()}"


def _check(jobs: Sequence[Job], setup: Setup, runs: Path, ray: bool, publish: bool) -> None:
    check_outputs(runs, None)
    check_outside(runs, setup.model)
    for slug in {DENSE, *(job.slug for job in jobs)}:
        check_record(runs, setup.protocol.name, slug)
    if ray:
        workers.check_ray()
    if publish:
        check_publishable(jobs, setup)


def _execute(
    jobs: Sequence[Job],
    setup: Setup,
    dense: Mapping[str, Record],
    handle: Pruner | None,
    count: int,
    ray: bool,
) -> Iterator[workers.JobResult[Record]]:
    if handle is not None:
        return workers.in_this_process(jobs, handle)
    make = partial(make_pruner, setup, dense)
    if ray:
        computing = parse_device(setup.accelerator or setup.device)
        accelerators = 0 if computing.type == "cpu" else 1
        return workers.on_ray(jobs, make, count, accelerators=accelerators)
    return workers.in_processes(jobs, make, count)
