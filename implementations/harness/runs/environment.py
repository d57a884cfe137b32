"""The environment of a run for its record: hardware, package versions and git commit."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import psutil
import torch

from implementations.harness.download.storage import file_sha256
from implementations.harness.errors import BadInput
from implementations.harness.results.field_types import one_line
from implementations.harness.results.record import Hardware
from implementations.harness.results.store import IMPLEMENTATIONS

PACKAGES = (
    "pruning-atlas",
    "datasets",
    "gguf",
    "lm-eval",
    "numpy",
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
        cpu=one_line(_cpu()),
        cores=_cores(),
        threads=torch.get_num_threads(),
        memory=psutil.virtual_memory().total,
        accelerator=None if accelerator is None else one_line(accelerator),
        system=one_line(f"{platform.system()} {platform.release()}"),
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


def _cpu() -> str:
    """Return the CPU's model name, or its architecture if the system does not report one."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
