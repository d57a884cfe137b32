"""One run: check, load, measure dense, prune, measure, record, save the model.

Each file and the model's folder are written whole or not at all. The record comes first: when
something goes wrong later, hours of work are in it.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from implementations.harness.download.storage import user_path
from implementations.harness.errors import AtlasError, BadInput, Unavailable
from implementations.harness.model.checkpoint import save
from implementations.harness.model.output_folder import check_output_folder
from implementations.harness.model.view import LanguageModel
from implementations.harness.prune.journal import open_journal
from implementations.harness.results.places import check_writable, nearest, real, shown
from implementations.harness.results.record import DENSE, Record
from implementations.harness.results.store import (
    IMPLEMENTATIONS,
    check_record,
    load_record,
    publish_record,
    published_folders,
    record_files,
    runs_folder,
    save_record,
)
from implementations.harness.runs import environment
from implementations.harness.runs.job import DENSE_JOB, Job, Setup
from implementations.harness.runs.recording import make_record
from implementations.harness.runs.workbench import Workbench

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

    With `checkpoint` the pruned model is then saved into that folder; with `publish` both records
    are also put into the method's folder.

    Raises:
        BadInput: what is asked for cannot be; found out before the work, but for a model that
            cannot be saved as it came out.
        Unavailable: network, a package, space or a permission is missing, or another process has
            saved into the same folder meanwhile.
        NumericsError: NaN or infinity on the way.
    """
    if checkpoint is not None and job.method is None:
        raise BadInput("the dense model is not saved, it lies where it came from; leave out --save")
    check_outputs(runs, checkpoint)
    for folder in filter(None, (runs, checkpoint)):
        check_outside(folder, setup.model)
    if publish:
        environment.require_checkout("--publish")
    bench = Workbench(setup)
    samples = bench.prepare(job, saves=checkpoint is not None)
    if checkpoint is not None:
        check_space(checkpoint, bench.footprint.bytes)
    for slug in (DENSE, job.slug):
        check_record(runs, setup.protocol.name, slug)
    dense = dense_record(bench, runs, job)
    written = dense
    if job.method is not None:
        with open_journal(journal_of(bench, job, runs)):
            found, model = bench.measure(job, samples)
            record = make_record(bench, job, found, dense.record)
            written = Written(record, keep(record, runs))
        if checkpoint is not None:
            save_beside(written, model, checkpoint)
    if publish:
        for record in {dense.record.run: dense.record, written.record.run: written.record}.values():
            publish_record(record)
    return written


def journal_of(bench: Workbench, job: Job, runs: Path) -> Path:
    """Return the hidden file in which a job saves its progress, in the folder of its record."""
    asked = f"{bench.key(job)} {bench.versions}"
    name = f".{hashlib.sha256(asked.encode()).hexdigest()[:16]}.journal"
    return runs_folder(runs, bench.setup.protocol.name, job.slug) / name


def dense_record(bench: Workbench, runs: Path, beside: Job = DENSE_JOB) -> Written:
    """The dense record to stand beside a job, in `runs`: found there, published, or measured now.

    It has the same recovery. One that was found counts only if it was measured on this machine
    with these versions.
    """
    job = beside.dense
    key = bench.key(job)
    for path in (*record_files(runs / bench.setup.protocol.name / DENSE), *published_dense(bench)):
        record = load_record(path)
        if (
            record.key == key
            and record.hardware.machine == bench.hardware.machine
            and record.relevant_versions == bench.versions
        ):
            return Written(record, path if path.is_relative_to(runs) else save_record(record, runs))
    with open_journal(journal_of(bench, job, runs)):
        found, _ = bench.measure(job)
        record = make_record(bench, job, found, None)
        return Written(record, keep(record, runs))


def published_dense(bench: Workbench) -> Iterator[Path]:
    """Yield the files of published dense records under the bench's protocol."""
    return record_files(IMPLEMENTATIONS / "harness" / "records" / bench.setup.protocol.name)


def keep(record: Record, runs: Path) -> Path:
    """Write the record under `runs`, or into a temporary folder if that fails.

    Raises:
        Unavailable: the record is not under `runs`; the message names the temporary file.
    """
    try:
        return save_record(record, runs)
    except Unavailable as error:
        try:
            elsewhere = save_record(record, Path(tempfile.mkdtemp(prefix="atlas-")))
        except (OSError, Unavailable):
            raise error from None
        raise Unavailable(f"{error}; the record of the run is in {elsewhere}") from error


def save_beside(written: Written, model: LanguageModel, checkpoint: Path) -> None:
    """Save the model whose record is written; what goes wrong names the record as well."""
    try:
        save(model, checkpoint, record=written.record.model_dump(mode="json"))
    except AtlasError as error:
        raise type(error)(
            f"{error} The model was not saved; the record of the run is in {written.path}"
        ) from error


def check_outputs(runs: Path, checkpoint: Path | None) -> None:
    """Find out by trying whether records and a checkpoint can be written; nothing of it stays.

    Raises:
        BadInput: `runs` is a file, the checkpoint's folder is not empty, or one lies in the other.
        Unavailable: one of them cannot be written.
    """
    records = real(runs)
    if checkpoint is not None:
        check_apart(real(checkpoint), records)
        check_output_folder(checkpoint)
    there = nearest(records)
    if not there.is_dir():
        raise BadInput(f"{shown(there)} is a file; --runs needs a folder")
    check_writable(records)


def check_apart(checkpoint: Path, runs: Path) -> None:
    """Refuse a model's folder that lies among records, or where they would lie in it."""
    for records in (runs, *published_folders()):
        if checkpoint.is_relative_to(records):
            raise BadInput(
                f"{shown(checkpoint)} lies in {shown(records)}, where every .json file is read as "
                "a record; choose a folder outside"
            )
    if runs.is_relative_to(checkpoint):
        raise BadInput(
            f"the records in {shown(runs)} would lie in the folder of the model; choose another"
        )


def check_outside(folder: Path, model: str) -> None:
    """Refuse to write into the folder of the model that is read."""
    source = user_path(model, "the model")
    if source.is_dir() and real(folder).is_relative_to(real(source)):
        raise BadInput(
            f"{shown(folder)} lies in the folder of the model that is read; choose another folder"
        )


def check_space(folder: Path, needed: int) -> None:
    """Raise `Unavailable` unless the disk of `folder` has room for `needed` bytes."""
    free = shutil.disk_usage(nearest(real(folder))).free
    if free < needed:
        raise Unavailable(
            f"no space for the checkpoint in {shown(folder)}: it takes {needed / 1e6:,.0f} MB and "
            f"{free / 1e6:,.0f} MB are free; free some or choose a folder on a larger disk"
        )
