"""Runs and their setup, from the options of a command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from implementations.harness.cli.options import home_of, listed
from implementations.harness.errors import BadInput
from implementations.harness.results.own_texts import with_own_texts
from implementations.harness.results.protocol import Protocol, Recovery, get_protocol

if TYPE_CHECKING:
    from implementations.harness.runs.job import Job, Setup


def read_runs(
    file: Path | None,
    methods: Sequence[str] | None,
    sparsities: Sequence[float] | None,
    patterns: Sequence[str] | None,
    settings: Sequence[str] | None,
    seeds: Sequence[int] | None,
    *,
    model: str | None,
    protocol: str | None,
    calibrate_on: str | None,
    evaluate_on: list[str] | None,
    device: str,
    dtype: str | None,
    accelerator: str | None,
    tasks: list[str] | None = None,
    task_folder: Path | None = None,
    after: Recovery | None = None,
) -> tuple[list[Job], Setup]:
    """Return the runs of a sweep file or of options, and their setup.

    Raises `BadInput` for an invalid option, or one that a sweep file excludes.
    """
    from implementations.harness.runs import sweep_file

    if file is not None:
        if methods or sparsities or patterns or settings or seeds:
            raise BadInput(
                "--file cannot be combined with methods, sparsities, patterns, seeds or --set; "
                "leave them out"
            )
        whole = sweep_file.read_sweep_file(file).with_options(
            protocol=protocol,
            calibrate_on=calibrate_on,
            evaluate_on=evaluate_on,
            model=model,
            dtype=dtype,
        )
        jobs = whole.jobs(after)
        protocol, model, dtype = whole.protocol, whole.model, whole.dtype
        calibrate_on, evaluate_on = whole.calibrate_on, whole.evaluate_on
    else:
        jobs = sweep_file.jobs_of(
            methods or [], sparsities or [], patterns or [], settings or [], seeds or [0], after
        )
    chosen = with_own_texts(get_protocol(protocol or "smol"), calibrate_on, evaluate_on or ())
    return jobs, make_setup(chosen, model, device, dtype, accelerator, tasks, task_folder)


def make_setup(
    protocol: Protocol,
    model: str | None,
    device: str,
    dtype: str | None,
    accelerator: str | None,
    tasks: list[str] | None,
    task_folder: Path | None,
    stream: bool = False,
) -> Setup:
    """Build the setup of a run from its options; raises `BadInput` for an invalid one."""
    from implementations.harness.model.execution import parse_device, parse_dtype
    from implementations.harness.runs.job import Setup

    source = model or protocol.model
    if source is None:
        raise BadInput(f"protocol {protocol.name} has no default model; give one with --model")
    if task_folder is not None and not tasks:
        raise BadInput("--task-folder needs --tasks; give both or neither")
    home = str(parse_device(home_of(device, accelerator)))
    if stream:  # the weights of one block come from disk, and the device computes
        home, accelerator = "cpu", accelerator or home
    return Setup(
        model=source,
        protocol=protocol,
        device=home,
        dtype=str(parse_dtype(dtype or protocol.dtype)).removeprefix("torch."),
        accelerator=accelerator,
        tasks=tuple(sorted(set(listed(tasks)))),
        task_folder=None if task_folder is None else str(task_folder),
        stream=stream,
    )
