"""Where a run happens: what its record says of hardware, versions and commit."""

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
from implementations.harness.results.bounds import one_line
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
    """Hash the files in and below a folder, with their places in it, but not Python's caches."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    files = [path for path in found if path.parent.name != "__pycache__"]
    lines = [f"{file_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def hardware(device: torch.device) -> Hardware:
    """Describe this machine; the accelerator is named where `device` is one."""
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
    """The product name of an accelerator, its type where the driver tells none, None for a CPU."""
    if device.type == "cpu":
        return None
    name = getattr(torch.get_device_module(device), "get_device_name", None)
    return str(name(device)) if name else device.type


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide numbers, those that are installed."""
    found = {package: _version(package) for package in PACKAGES}
    installed = {package: version for package, version in found.items() if version is not None}
    return {"python": platform.python_version()} | installed


def checkout() -> Path | None:
    """The root of the git work tree this code runs from; None where it was installed."""
    top = _git("rev-parse", "--show-toplevel")
    root = IMPLEMENTATIONS.parent
    return root if top is not None and Path(top).resolve() == root else None


def require_checkout(what: str) -> None:
    """Raise `BadInput` outside a checkout: an installed package is no place for results."""
    if checkout() is None:
        raise BadInput(
            f"{what} writes into the method's folder of a git checkout, and this is an installed "
            "package; clone the repository and run it from there"
        )


def commit() -> tuple[str | None, bool | None]:
    """Commit of the checkout and whether anything but records was changed; None outside one."""
    head = _git("rev-parse", "HEAD") if checkout() else None
    if head is None:
        return None, None
    everything_but_records = [".", ":(exclude)implementations/*/records/*"]
    changes = _git("status", "--porcelain", "--untracked-files=all", "--", *everything_but_records)
    return head, bool(changes)


def _git(*arguments: str) -> str | None:
    """The answer of git in the code's folder, or None where it has none."""
    command = ["git", "-C", str(IMPLEMENTATIONS.parent), *arguments]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


@functools.cache  # a package's metadata are read as a whole, in milliseconds, and do not change
def _version(package: str) -> str | None:
    """The version of a package, None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cores() -> int:
    """The cores this process may use, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu() -> str:
    """The CPU's model name; the processor's kind where the system tells no more."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
