"""One run: check, load, measure dense, prune, measure, record; all or nothing of it is written."""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from implementations.harness import environment
from implementations.harness.bench import DENSE, Bench, Job, Setup
from implementations.harness.checkpoint import check_output_folder, save
from implementations.harness.errors import BadInput, Unavailable
from implementations.harness.record import (
    Record,
    load_record,
    publish_record,
    record_files,
    save_record,
)
from implementations.harness.recording import make_record

RUNS = Path("runs")


@dataclass(frozen=True)
class Written:
    """A record and the file it is in."""

    record: Record
    path: Path


def run(
    job: Job,
    setup: Setup,
    *,
    runs: Path = RUNS,
    checkpoint: Path | None = None,
    publish: bool = False,
) -> Written:
    """Do one job and write its record under `runs`, and its dense model's where that is new.

    With `checkpoint` the pruned model is saved into that folder; with `publish` both records are
    also put into the method's folder.

    Raises:
        BadInput: what is asked for cannot be; nothing was written.
        Unavailable: network, a package, space or a permission is missing.
        NumericsError: NaN or infinity on the way.
    """
    check_outputs(runs, checkpoint)
    check_tasks(setup.tasks)
    if publish:
        environment.require_checkout("--publish")
    bench = Bench(setup)
    bench.check(job)
    if checkpoint is not None:
        check_space(checkpoint, bench.footprint.bytes)
    dense = dense_record(bench, runs)
    written = dense
    if job.method is not None:
        found, model = bench.measure(job.method, job.seed, last=True)
        record = make_record(bench, job, found, dense.record)
        if checkpoint is not None:
            save(model, checkpoint, record=record.model_dump(mode="json"))
        written = Written(record, save_record(record, runs))
    if publish:
        for record in {dense.record.run: dense.record, written.record.run: written.record}.values():
            publish_record(record)
    return written


def dense_record(bench: Bench, runs: Path) -> Written:
    """The dense record of the bench's model on this machine, from `runs` or measured now."""
    job = Job(None)
    key = bench.key(job)
    for path in record_files(runs / bench.setup.protocol.name / DENSE):
        record = load_record(path)
        if record.key == key and record.hardware.machine == bench.hardware.machine:
            return Written(record, path)
    record = make_record(bench, job, bench.measure_dense(), None)
    return Written(record, save_record(record, runs))


def check_outputs(runs: Path, checkpoint: Path | None) -> None:
    """Refuse folders that cannot be written, and one for a checkpoint that is not empty."""
    if checkpoint is not None:
        check_output_folder(checkpoint)
    there = nearest(runs)
    if not there.is_dir():
        raise BadInput(f"{there} is a file; --runs needs a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise Unavailable(f"cannot write in {there}; choose another folder with --runs")


def check_space(folder: Path, needed: int) -> None:
    """Raise `Unavailable` unless the disk of `folder` has room for `needed` bytes."""
    free = shutil.disk_usage(nearest(folder)).free
    if free < needed:
        raise Unavailable(
            f"no space for the checkpoint in {folder}: it takes {needed / 1e6:,.0f} MB and "
            f"{free / 1e6:,.0f} MB are free; free some or choose a folder on a larger disk"
        )


def check_tasks(tasks: tuple[str, ...]) -> None:
    """Raise `Unavailable` when tasks are asked for and lm-eval is not installed."""
    if tasks and importlib.util.find_spec("lm_eval") is None:
        raise Unavailable("--tasks needs lm-eval: pip install 'pruning-atlas[eval]'")


def nearest(folder: Path) -> Path:
    """The folder itself or the closest of its parents that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
