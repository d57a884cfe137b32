"""One run: check, load, measure dense, prune, measure, record; all or nothing of it is written."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from implementations.harness.errors import BadInput, Unavailable
from implementations.harness.measure.zero_shot import find
from implementations.harness.model.checkpoint import check_output_folder, save
from implementations.harness.progress import track
from implementations.harness.results.record import DECIDING, DENSE, Record
from implementations.harness.results.store import (
    IMPLEMENTATIONS,
    load_record,
    publish_record,
    record_files,
    runs_folder,
    save_record,
)
from implementations.harness.runs import environment
from implementations.harness.runs.recording import make_record
from implementations.harness.runs.workbench import Job, Setup, Workbench

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
    for slug in (job.slug, DENSE):
        runs_folder(runs, setup.protocol.name, slug)
    check_tasks(setup)
    if publish:
        environment.require_checkout("--publish")
    bench = Workbench(setup)
    bench.check(job)
    if checkpoint is not None:
        check_space(checkpoint, bench.footprint.bytes)
    dense = dense_record(bench, runs)
    written = dense
    if job.method is not None:
        found, model = bench.measure(job.method, job.seed)
        record = make_record(bench, job, found, dense.record)
        if checkpoint is not None:
            save(model, checkpoint, record=record.model_dump(mode="json"))
        written = Written(record, save_record(record, runs))
    if publish:
        for record in {dense.record.run: dense.record, written.record.run: written.record}.values():
            publish_record(record)
    return written


def dense_record(bench: Workbench, runs: Path) -> Written:
    """The dense record of the bench's model, in `runs`: found there, published, or measured now.

    One that was found counts only if it was measured on this machine with these versions.
    """
    key, versions = bench.key(Job(None)), environment.versions()
    for path in (*record_files(runs / bench.setup.protocol.name / DENSE), *published_dense(bench)):
        record = load_record(path)
        if (
            record.key == key
            and record.hardware.machine == bench.hardware.machine
            and all(record.versions.get(name) == versions[name] for name in DECIDING)
        ):
            return Written(record, path if path.is_relative_to(runs) else save_record(record, runs))
    record = make_record(bench, Job(None), bench.measure_dense(), None)
    return Written(record, save_record(record, runs))


def published_dense(bench: Workbench) -> Iterator[Path]:
    """Yield the files of published dense records under the bench's protocol."""
    return record_files(IMPLEMENTATIONS / "harness" / "records" / bench.setup.protocol.name)


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


def check_tasks(setup: Setup) -> None:
    """Load the tasks once before the work.

    Raises:
        BadInput: lm-eval knows no such task, or cannot read it.
        Unavailable: lm-eval is missing, or the hub with the data is out of reach.
    """
    if not setup.tasks:
        return
    if importlib.util.find_spec("lm_eval") is None:
        raise Unavailable("--tasks needs lm-eval: pip install 'pruning-atlas[eval]'")
    from implementations.harness.measure import lm_eval_adapter as lm_eval

    with lm_eval.quiet():
        manager = find(setup.tasks, lm_eval.managers(setup.task_folder))
        for task in track(setup.tasks, "loading the tasks"):
            lm_eval.load(manager, task)


def nearest(folder: Path) -> Path:
    """The folder itself or the closest of its parents that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
