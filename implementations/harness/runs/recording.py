"""Conversion of the measurements of a run into its record, with names, provenance and labels."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from implementations.harness.data.samples import Samples
from implementations.harness.data.stream import Stream
from implementations.harness.data.text import Tokens
from implementations.harness.results.field_types import LONGEST_NAME, NAMELESS
from implementations.harness.results.metric import ACHIEVED, Tolerance, metric
from implementations.harness.results.protocol import PROTOCOLS, STREAMS
from implementations.harness.results.record import (
    DENSE,
    Dense,
    Record,
    Speed,
    TextInfo,
)
from implementations.harness.runs import environment
from implementations.harness.runs.job import Job
from implementations.harness.runs.workbench import Measured, Workbench


def make_record(bench: Workbench, job: Job, measured: Measured, dense: Record | None) -> Record:
    """Build the record of a run; `dense` is the dense record, None for the dense run itself."""
    setup = bench.setup
    date = datetime.now(UTC).replace(microsecond=0)
    key = bench.key(job)
    run = f"{time_of(date)}-{key[:8]}"
    row = (
        Dense(run=run, values=measured.values, footprint=measured.footprint)
        if dense is None
        else Dense(run=dense.run, values=dense.values | measured.dense, footprint=dense.footprint)
    )
    commit, dirty = environment.commit()
    outcome = measured.outcome
    fields: dict[str, Any] = {
        "run": run,
        "key": key,
        "date": date,
        "method": job.slug,
        "granularity": granularity_of(job),
        "configuration": job.configuration,
        "changed": tuple(job.changed),
        "asked": outcome.asked if outcome else 0.0,
        "achieved": round(outcome.achieved, 12) if outcome else 0.0,
        "details": plain_json(outcome.details) if outcome else {},
        "protocol": setup.protocol,
        "seed": job.seed,
        "tasks": setup.tasks,
        "tasks_sha256": bench.tasks_sha256,
        "model": bench.info,
        "texts": texts_of(measured.samples, bench.sampler.sources(job.streams)),
        "disjoint": measured.samples.disjoint,
        "values": measured.values,
        "dense": row,
        "footprint": measured.footprint,
        "speed": measured.speed or Speed(note=measured.untimed),
        "course": outcome.course if outcome else None,
        "recovered": measured.recovered,
        "sample": measured.sample,
        "labels": labels_of(measured.values, row.values),
        "warnings": measured.warnings,
        "seconds": measured.seconds,
        "peak": measured.peak,
        "hardware": bench.hardware,
        "versions": environment.versions(),
        "commit": commit,
        "dirty": dirty,
        "tolerance": tolerances_of(measured.values),
    }
    draft = Record.model_construct(**fields)  # name and command derive from the other fields
    return Record(**fields, name=name_of(draft), command=command_of(draft, setup.task_folder))


def name_of(record: Record) -> str:
    """Return the file name: model, share, changed settings, seed, tasks, dtype, accelerator.

    Characters outside `FileName` are replaced; a name that is too long ends in a hash.
    """
    parts = [record.model.name]
    if record.method == DENSE:
        parts.append(DENSE)
    else:
        share = f"s{record.configuration['sparsity']:g}"
        parts.append(record.pattern.replace(":", "of") if record.pattern else share)
        parts += [f"{name}{record.configuration[name]}" for name in record.changed]
    if record.recovery is not None:
        parts.append(f"{record.recovery.how}{record.recovery.tokens}")
    if record.method != DENSE or record.recovery is not None:
        parts.append(f"seed{record.seed}")
    parts += record.tasks
    if record.model.dtype != record.protocol.dtype:
        parts.append(record.model.dtype)
    if record.hardware.accelerator:
        parts.append(record.hardware.accelerator)
    model, *others = [re.sub(r"[^a-z0-9._]+", "-", part.lower()).strip("-") for part in parts]
    name = "-".join([model.lstrip(".-") or NAMELESS, *others])
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def command_of(record: Record, task_folder: str | None = None) -> str:
    """Return the command that repeats the run; a custom protocol becomes `<name>.yaml`."""
    model, protocol = record.model, record.protocol
    words = ["atlas", "run", record.method]
    if record.method != DENSE:
        share = ["--sparsity", repr(record.configuration["sparsity"])]
        words += ["--pattern", record.pattern] if record.pattern else share
        for name in record.changed:
            value = record.configuration[name]
            words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    words += ["--protocol", protocol.name + ("" if protocol.name in PROTOCOLS else ".yaml")]
    if model.source != protocol.model:
        words += ["--model", model.source]
    if model.dtype != protocol.dtype:
        words += ["--dtype", model.dtype]
    words += ["--device", model.device]
    if model.accelerator != model.device:
        words += ["--accelerator", model.accelerator]
    if record.recovery is not None:
        words += ["--recover", record.recovery.how, "--tokens", str(record.recovery.tokens)]
    for task in record.tasks:
        words += ["--tasks", task]
    if task_folder:
        words += ["--task-folder", task_folder]
    return shlex.join([*words, "--seed", str(record.seed)])


def time_of(date: datetime) -> str:
    """Format the time for the name of a run."""
    return f"{date.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def granularity_of(job: Job) -> tuple[str, ...]:
    """Return what this run removes; a pattern makes it semi-structured."""
    if job.method is None:
        return ()
    if job.configuration.get("pattern"):
        return ("semi-structured",)
    declared = job.method.capabilities.granularity
    return tuple(g for g in declared if g != "semi-structured" or "unstructured" not in declared)


def texts_of(samples: Samples, sources: Mapping[str, str]) -> tuple[TextInfo, ...]:
    """Describe all texts of the run with their windows; `sources` maps roles to hashes."""
    roles: dict[str, Tokens] = {"calibration": samples.calibration}
    for role in STREAMS:
        stream: Stream | None = getattr(samples.calibration, role)
        if stream is not None:
            roles[role] = stream.windows
    roles |= samples.evaluations
    return tuple(
        TextInfo(
            role=role,
            source=tokens.source,
            source_sha256=sources[role],
            text_sha256=tokens.text_sha256,
            ids_sha256=tokens.sha256,
            samples=tokens.ids.shape[0],
            length=tokens.ids.shape[1],
            spans=joined_spans(tokens),
        )
        for role, tokens in roles.items()
    )


def joined_spans(tokens: Tokens) -> tuple[tuple[int, int], ...]:
    """Return the spans of the windows with adjacent ones joined."""
    spans: list[tuple[int, int]] = []
    for start, end in tokens.spans:
        if spans and spans[-1][1] == start:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return tuple(spans)


def labels_of(values: dict[str, float], dense: dict[str, float]) -> tuple[str, ...]:
    """Return `collapsed` if any value has collapsed by the criterion of its metric."""
    collapsed = any(
        metric(name).collapsed(value, dense[name])
        for name, value in values.items()
        if name in dense
    )
    return ("collapsed",) if collapsed else ()


def tolerances_of(values: dict[str, float]) -> dict[str, Tolerance]:
    """Return the tolerance of each kind of value."""
    kinds = [ACHIEVED.kind, *dict.fromkeys(name.partition("/")[0] for name in values)]
    return {kind: metric(kind).tolerance for kind in kinds}


def plain_json(value: Any) -> Any:
    """Convert the details of a method to JSON values; infinity and NaN become strings."""
    if isinstance(value, dict):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
