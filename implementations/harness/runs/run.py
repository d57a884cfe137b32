"""One run: check, load, measure the dense model, prune, measure, record, save the model.

Each file and the model's folder are written atomically. The record is written before the model is
saved, so that a failure while saving does not lose the measurements.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from implementations.harness.data.samples import Samples
from implementations.harness.errors import AtlasError, BadInput, Unavailable
from implementations.harness.model.execution import parse_device
from implementations.harness.model.saving import (
    check_output_folder,
    resolve_output_folder,
    save_model,
)
from implementations.harness.model.streaming import (
    StreamedModel,
    check_request,
    finished_files,
    save_streamed,
    work_folder,
)
from implementations.harness.model.view import LanguageModel
from implementations.harness.prune.journal import open_journal
from implementations.harness.prune.method import Method
from implementations.harness.prune.parallel import launched
from implementations.harness.results.files import (
    check_writable,
    nearest_existing,
    resolve,
    short_path,
    user_path,
)
from implementations.harness.results.processor import STANDARD
from implementations.harness.results.record import DENSE, Record
from implementations.harness.results.store import (
    IMPLEMENTATIONS,
    RUNS,
    check_record,
    load_record,
    publish_record,
    published_folders,
    record_files,
    runs_folder,
    save_record,
)
from implementations.harness.runs.job import DENSE_JOB, Job, Setup
from implementations.harness.runs.recording import hardware, require_checkout
from implementations.harness.runs.workbench import Workbench


@dataclass(frozen=True)
class SavedRecord:
    """A record and the path of its file."""

    record: Record
    path: Path


def run(
    job: Job,
    setup: Setup,
    *,
    runs: Path = RUNS,
    checkpoint: Path | None = None,
    publish: bool = False,
) -> SavedRecord:
    """Run one job and write its record under `runs`, and that of the dense model if it is new.

    If `checkpoint` is given, the pruned model is then saved to that folder. With `publish`, both
    records are also written to the folders `records` of the method and of the harness.

    Raises:
        BadInput: the input is invalid; checked before any work, except that the pruned model may
            turn out not to be saveable.
        Unavailable: network, a package, disk space or a permission is missing, or another process
            saved to the same folder meanwhile.
        NumericsError: NaN or infinity occurred.
    """
    if checkpoint is not None and job.method is None:
        raise BadInput("--save: the dense model is not saved; leave the option out")
    check_outputs(runs, checkpoint)
    for slug in (DENSE, job.slug):
        check_record(runs, setup.protocol.name, slug)
    for folder in filter(None, (runs, checkpoint)):
        check_outside(folder, setup.model)
    if publish:
        check_publishable([job], setup)
    work = None
    if setup.stream and checkpoint is not None:
        work = work_folder(resolve_output_folder(checkpoint))
    bench = Workbench(setup, work, runs)
    samples = bench.prepare(job, saves=checkpoint is not None)
    check_shareable(job, samples, setup)
    if checkpoint is not None:
        needed = bench.footprint.bytes
        if work is not None:  # finished blocks become part of the checkpoint
            needed -= sum(file.stat().st_size for file in finished_files(work))
        check_space("--save", checkpoint, needed)
    elif setup.stream and job.method is not None:
        check_space("--runs", runs, bench.footprint.bytes)
    if work is not None:
        check_request(work, request_of(bench, job))
    dense = dense_record(bench, runs, job)
    written = dense
    if job.method is not None:
        with open_journal(journal_of(bench, job, runs)):
            measured, model = bench.measure(job, samples)
            record = bench.record(job, measured, dense.record)
            written = SavedRecord(record, save_or_rescue(record, runs))
        if checkpoint is not None:
            save_checkpoint(written, model, checkpoint, work)
    if publish:
        for record in {dense.record.run: dense.record, written.record.run: written.record}.values():
            publish_record(record)
    return written


def prune_as_helper(job: Job, setup: Setup) -> None:
    """Prune as the first process of torchrun does, with another part of the calibration set.

    Raises the same errors as `run`.
    """
    bench = Workbench(setup)
    samples = bench.prepare(job)
    check_shareable(job, samples, setup)
    assert job.method is not None  # guaranteed by the check
    Method.execute(job.method, bench.dense(), samples.calibration, job.seed)


def check_shareable(job: Job, samples: Samples, setup: Setup) -> None:
    """Raise `BadInput` if torchrun started processes that cannot share the calibration set."""
    method, count = job.method, launched()
    if count == 1:
        return
    if setup.stream:
        raise BadInput("--stream cannot be used with torchrun; start one process")
    if method is None or not method.capabilities.parallel:
        needless = method is None or method.capabilities.calibration == "none"
        raise BadInput(
            f"{job.slug} cannot be used with torchrun, because it "
            + ("reads no calibration set" if needless else "cannot divide its calibration set")
            + "; start one process"
        )
    if len(samples.calibration.ids) < count:
        raise BadInput(
            f"{count} processes cannot share {len(samples.calibration.ids)} calibration samples; "
            "start fewer processes (--nproc-per-node)"
        )


def journal_of(bench: Workbench, job: Job, runs: Path) -> Path:
    """Return the path of a job's progress file, hidden in the folder of its record."""
    name = f".{hashlib.sha256(request_of(bench, job).encode()).hexdigest()[:16]}.journal"
    return runs_folder(runs, bench.setup.protocol.name, job.slug) / name


def request_of(bench: Workbench, job: Job) -> str:
    """Return the key and versions of a job; only a run with the same ones continues its work."""
    return f"{bench.key(job)} {bench.versions}"


def dense_record(bench: Workbench, runs: Path, pruned: Job = DENSE_JOB) -> SavedRecord:
    """Return the dense record to compare `pruned` with: from `runs`, published, or measured now.

    It has the same fine-tuning. An existing record is only used if it was measured under the same
    conditions (processor, vector instructions, threads) with the same package versions.
    """
    job = pruned.dense
    key = bench.key(job)
    protocol = bench.setup.protocol.name
    published = IMPLEMENTATIONS / "harness" / "records" / protocol
    for path in (*record_files(runs / protocol / DENSE), *record_files(published)):
        record = load_record(path)
        if (
            record.key == key
            and record.hardware.conditions == bench.hardware.conditions
            and record.relevant_versions == bench.versions
        ):
            return SavedRecord(
                record, path if path.is_relative_to(runs) else save_record(record, runs)
            )
    with open_journal(journal_of(bench, job, runs)):
        measured, _ = bench.measure(job)
        record = bench.record(job, measured, None)
        return SavedRecord(record, save_or_rescue(record, runs))


def save_or_rescue(record: Record, runs: Path) -> Path:
    """Write the record under `runs`, or to a temporary folder if that fails.

    Raises:
        Unavailable: the record could not be written under `runs`; the message names the temporary
            file.
    """
    try:
        return save_record(record, runs)
    except Unavailable as error:
        try:
            rescued = save_record(record, Path(tempfile.mkdtemp(prefix="atlas-")))
        except (OSError, Unavailable):
            raise error from None
        raise Unavailable(f"{error}; the record of the run is in {rescued}") from error


def save_checkpoint(
    written: SavedRecord, model: LanguageModel, checkpoint: Path, work: Path | None
) -> None:
    """Save the pruned model; an error also names the file of the record."""
    record = written.record.model_dump(mode="json")
    try:
        if isinstance(model, StreamedModel) and work is not None:
            save_streamed(model, work, checkpoint, record=record)
        else:
            save_model(model, checkpoint, record=record)
    except AtlasError as error:
        raise type(error)(
            f"{error} The model was not saved; the record of the run is in {written.path}"
        ) from error


def check_publishable(jobs: Iterable[Job], setup: Setup) -> None:
    """Raise `BadInput` outside a checkout, on other conditions, or for a method from outside."""
    require_checkout("--publish")
    for job in jobs:
        if job.external is not None:
            raise BadInput(
                f"--publish: {job.external.source} is not part of the atlas; leave the option out, "
                "or add the method as CONTRIBUTING.md describes"
            )
    here = hardware(parse_device(setup.accelerator or setup.device))
    if here.accelerator is None and not here.standard:
        raise BadInput(
            f"--publish: records of a CPU are published with {STANDARD} and one thread, so that "
            f"they can be repeated; this run has {here.capability} and {here.threads} threads; set "
            "the variable OMP_NUM_THREADS=1 on a processor with AVX2"
        )


def check_outputs(runs: Path, checkpoint: Path | None) -> None:
    """Check that records and a checkpoint can be written, without leaving a file.

    Raises:
        BadInput: `runs` is a file, the checkpoint's folder is not empty, or one of them is inside
            the other.
        Unavailable: one of them cannot be written.
    """
    records = resolve(runs)
    if checkpoint is not None:
        check_separate(resolve(checkpoint), records)
        check_output_folder(checkpoint)
    existing = nearest_existing(records)
    if not existing.is_dir():
        raise BadInput(f"--runs: {short_path(existing)} is a file; choose a folder")
    check_writable(records)


def check_separate(checkpoint: Path, runs: Path) -> None:
    """Raise `BadInput` if the model's folder is inside a folder of records or contains `runs`."""
    for records in (runs, *published_folders()):
        if checkpoint.is_relative_to(records):
            raise BadInput(
                f"--save: {short_path(checkpoint)} is inside {short_path(records)}, where every "
                ".json file is read as a record; choose a folder outside"
            )
    if runs.is_relative_to(checkpoint):
        raise BadInput(
            f"--runs: {short_path(runs)} is inside the folder of --save; choose another folder"
        )


def check_outside(folder: Path, model: str) -> None:
    """Raise `BadInput` if the output folder is inside the folder of the input model."""
    source = user_path(model, "the model")
    if source.is_dir() and resolve(folder).is_relative_to(resolve(source)):
        raise BadInput(
            f"{short_path(folder)} is inside the folder of the input model; choose another folder"
        )


def check_space(option: str, folder: Path, needed: int) -> None:
    """Raise `Unavailable` unless the disk of an option's folder has room for `needed` bytes."""
    free = shutil.disk_usage(nearest_existing(resolve(folder))).free
    if free < needed:
        raise Unavailable(
            f"{option}: not enough disk space in {short_path(folder)}: the pruned model may need "
            f"up to {needed / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free; free some space or "
            "choose a folder on a larger disk"
        )
