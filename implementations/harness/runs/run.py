"""One run: check, load, measure the dense model, prune, measure, record, save the model.

Each file and the model's folder are written atomically. The record is written before the model is
saved, so that a failure while saving does not lose the measurements.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from implementations.harness.data.samples import Samples
from implementations.harness.data.tokens import Tokens
from implementations.harness.errors import AtlasError, BadInput, Unavailable
from implementations.harness.measure.perplexity import logits
from implementations.harness.model.execution import parse_device
from implementations.harness.model.loading import load_model
from implementations.harness.model.saving import (
    check_output_folder,
    save_model,
)
from implementations.harness.model.streaming import (
    StreamedModel,
    open_streamed,
    save_streamed,
)
from implementations.harness.model.view import LanguageModel
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
    save_record,
)
from implementations.harness.runs.job import DENSE_JOB, Job, Setup
from implementations.harness.runs.recording import hardware, require_checkout
from implementations.harness.runs.workbench import Workbench

CHECKED = 64  # tokens on which a saved model is compared


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
    bench = Workbench(setup)
    samples = bench.prepare(job, saves=checkpoint is not None)
    check_shareable(job, samples, setup)
    if checkpoint is not None:
        check_space("--save", checkpoint, bench.footprint.bytes)
    elif setup.stream and job.method is not None:
        check_space("--runs", runs, bench.footprint.bytes)
    dense = dense_record(bench, runs, job)
    written = dense
    if job.method is not None:
        with streaming_folder(
            setup, resolve(checkpoint).parent if checkpoint else runs
        ) as bench.work:
            measured, model = bench.measure(job, samples)
            record = bench.record(job, measured, dense.record)
            written = SavedRecord(record, save_or_rescue(record, runs))
            if checkpoint is not None:
                save_checkpoint(written, model, checkpoint, samples)
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


@contextmanager
def streaming_folder(setup: Setup, parent: Path) -> Iterator[Path | None]:
    """Yield a folder for the edited blocks of a streamed model inside `parent`, or None.

    Each run has its own, which is removed at the end.
    """
    if not setup.stream:
        yield None
        return
    place = nearest_existing(resolve(parent))
    with tempfile.TemporaryDirectory(prefix=".streamed-", dir=place) as folder:
        yield Path(folder)


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
    written: SavedRecord, model: LanguageModel, checkpoint: Path, samples: Samples
) -> None:
    """Save the pruned model if it is the measured one; errors also name the file of the record."""
    record = written.record.model_dump(mode="json")
    check = same_model(model, next(iter(samples.evaluations.values())))
    try:
        if isinstance(model, StreamedModel):
            save_streamed(model, checkpoint, record=record, check=check)
        else:
            save_model(model, checkpoint, record=record, check=check)
    except AtlasError as error:
        raise type(error)(
            f"{error} The model was not saved; the record of the run is in {written.path}"
        ) from error


def same_model(model: LanguageModel, tokens: Tokens) -> Callable[[Path], None]:
    """Return a check that the model in a folder has the logits of `model` on some of `tokens`.

    It raises `BadInput`. Something that no checkpoint holds makes the difference: a hook that was
    left behind, a changed constant of a norm, a replaced module.
    """
    few = Tokens.from_ids(tokens.ids[:1, :CHECKED], tokens.source)
    expected = torch.cat([piece.values for piece in logits(model, few)], dim=1)
    # Weights at other addresses are added up in another order by some processors.
    precise = model.device.type == "cpu" == model.accelerator.type and model.dtype == torch.float32
    limit = (1e-5 if precise else 1e-2) * float(expected.abs().max())

    def check(folder: Path) -> None:
        source, dtype = str(folder), str(model.dtype).removeprefix("torch.")
        again: LanguageModel
        if model.family.experts:
            again = load_model(source, dtype=dtype, device=str(model.device), tokenizer=False)
        else:  # one block at a time in memory
            again = open_streamed(
                source, dtype=dtype, accelerator=model.accelerator, tokenizer=False
            )
        values = torch.cat([piece.values for piece in logits(again, few)], dim=1)
        difference = float((values - expected).abs().max())
        if not difference <= limit:
            raise BadInput(
                f"--save: the saved model has other logits than the measured one (by up to "
                f"{difference:.3g}), because the method changed more than a checkpoint holds, such "
                "as a hook or a constant of a norm; change weights only."
            )

    return check


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
