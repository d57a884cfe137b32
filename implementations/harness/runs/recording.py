"""Parts of a record: measurements, file name, command, labels, texts, environment."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import platform
import re
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch

from implementations.harness.data.samples import Samples
from implementations.harness.data.tokens import Stream, Tokens
from implementations.harness.errors import BadInput
from implementations.harness.prune.method import Outcome
from implementations.harness.results import processor
from implementations.harness.results.files import file_sha256
from implementations.harness.results.metric import metric
from implementations.harness.results.protocol import PROTOCOLS, STREAMS, Recovered
from implementations.harness.results.reading import LONGEST_NAME, NAMELESS, one_line
from implementations.harness.results.record import (
    DENSE,
    EXTERNAL,
    External,
    Footprint,
    Hardware,
    Peak,
    Record,
    Speed,
    TextInfo,
)
from implementations.harness.results.store import IMPLEMENTATIONS
from implementations.harness.runs.job import Job


@dataclass
class Measurements:
    """The measurements of one run, before they become a record."""

    samples: Samples
    values: dict[str, float]
    footprint: Footprint
    sample: str
    peak: Peak
    seconds: dict[str, float]
    outcome: Outcome | None = None
    speed: Speed | None = None
    no_speed_reason: str = ""
    """Reason why speed was not measured."""
    warnings: tuple[str, ...] = ()
    dense: dict[str, float] = field(default_factory=dict)
    """Values of the dense model that this run measured as well."""
    recovered: Recovered | None = None


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


def _as_setting(value: Any) -> str:
    """Return the text with which `--set` gives this value."""
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)


def command_of(record: Record, task_folder: str | None = None) -> str:
    """Return the command that repeats the run; a custom protocol becomes `<name>.yaml`."""
    model, protocol = record.model, record.protocol
    words = ["atlas", "run", record.external.source if record.external else record.method]
    if record.method != DENSE:
        share = ["--sparsity", repr(record.configuration["sparsity"])]
        words += ["--pattern", record.pattern] if record.pattern else share
        for name in record.changed:
            value = record.configuration[name]
            words += ["--set", f"{name}={_as_setting(value)}"]
    own = protocol.own_texts
    name = protocol.name if own is None else own.protocol
    words += ["--protocol", name + ("" if name in PROTOCOLS else ".yaml")]
    if own is not None and own.calibration:
        words += ["--calibrate-on", protocol.calibration.text]
    if own is not None and own.evaluations:
        words += [w for e in protocol.evaluations for w in ("--evaluate-on", e.text)]
    if model.source != protocol.model:
        words += ["--model", model.source]
    if model.dtype != protocol.dtype:
        words += ["--dtype", model.dtype]
    words += ["--device", model.device]
    if model.accelerator != model.device:
        words += ["--accelerator", model.accelerator]
    if model.streamed:
        words.append("--stream")
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


def labels_of(
    values: dict[str, float], dense: dict[str, float], external: External | None = None
) -> tuple[str, ...]:
    """Return `collapsed` if any value has collapsed by its metric's criterion, and `external`."""
    collapsed = any(
        metric(name).collapsed(value, dense[name])
        for name, value in values.items()
        if name in dense
    )
    labels = {"collapsed": collapsed, EXTERNAL: external is not None}
    return tuple(label for label, holds in labels.items() if holds)


def plain_json(value: Any) -> Any:
    """Convert the details of a method to JSON values; infinity and NaN become strings."""
    if isinstance(value, dict):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


PACKAGES = (
    "pruning-atlas",
    "datasets",
    "gguf",
    "lm-eval",
    "numpy",
    "peft",
    "safetensors",
    "tokenizers",
    "torch",
    "transformers",
)


def folder_sha256(folder: Path) -> str:
    """Hash the contents and relative paths of all files in a folder, except Python's caches."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = [path for path in paths if path.parent.name != "__pycache__"]
    lines = [f"{file_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def hardware(device: torch.device) -> Hardware:
    """Describe this machine, and the accelerator if `device` is one."""
    accelerator = accelerator_name(device)
    return Hardware(
        cpu=one_line(processor.name()),
        model=one_line(processor.model()),
        capability=torch.backends.cpu.get_cpu_capability(),
        cores=_cores(),
        threads=torch.get_num_threads(),
        memory=psutil.virtual_memory().total,
        accelerator=None if accelerator is None else one_line(accelerator),
        precision=None if accelerator is None else _precision(),
        system=one_line(f"{platform.system()} {platform.release()}"),
    )


def _precision() -> str:
    """Describe the settings of torch that decide the last bits on an accelerator."""
    return (
        f"float32 products {torch.get_float32_matmul_precision()}, "
        f"TF32 {'on' if torch.backends.cuda.matmul.allow_tf32 else 'off'}, "
        f"deterministic {'on' if torch.are_deterministic_algorithms_enabled() else 'off'}"
    )


def accelerator_name(device: torch.device) -> str | None:
    """Return an accelerator's product name, or its type if unknown; None for a CPU."""
    if device.type == "cpu":
        return None
    name = getattr(torch.get_device_module(device), "get_device_name", None)
    return str(name(device)) if name else device.type


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages in `PACKAGES`."""
    versions = {package: _version(package) for package in PACKAGES}
    installed = {package: version for package, version in versions.items() if version is not None}
    return {"python": platform.python_version()} | installed


def checkout() -> Path | None:
    """Return the root of the git work tree of this code; None for an installed package."""
    top = _git("rev-parse", "--show-toplevel")
    root = IMPLEMENTATIONS.parent
    return root if top is not None and Path(top).resolve() == root else None


def require_checkout(what: str) -> None:
    """Raise `BadInput` outside a git checkout, naming the option or command `what`."""
    if checkout() is None:
        raise BadInput(
            f"{what} writes to the method's folder in a git checkout, but this is an installed "
            "package; clone the repository and run the command there"
        )


def commit() -> tuple[str | None, bool | None]:
    """Return the commit and whether files other than records changed; None outside a checkout."""
    head = _git("rev-parse", "HEAD") if checkout() else None
    if head is None:
        return None, None
    everything_but_records = [".", ":(exclude)implementations/*/records/*"]
    changes = _git("status", "--porcelain", "--untracked-files=all", "--", *everything_but_records)
    return head, bool(changes)


def _git(*arguments: str) -> str | None:
    """Run git in the folder of this code and return its output; None if it fails."""
    command = ["git", "-C", str(IMPLEMENTATIONS.parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


@functools.cache  # reading a package's metadata takes milliseconds
def _version(package: str) -> str | None:
    """Return the version of a package; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cores() -> int:
    """Return the number of cores that this process may use, which a container can limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
