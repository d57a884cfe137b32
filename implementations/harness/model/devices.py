"""Names of dtypes and devices, and moves between devices."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from implementations.harness.errors import BadInput

DTYPES = ("float32", "bfloat16", "float16")


def parse_dtype(name: str | torch.dtype) -> torch.dtype:
    """Return the dtype named `name`; raises `BadInput` for one that models cannot be loaded in."""
    known: dict[str, torch.dtype] = {dtype: getattr(torch, dtype) for dtype in DTYPES}
    short = str(name).removeprefix("torch.")
    if short not in known:
        raise BadInput(f"unknown dtype {short!r}; use {', '.join(known)}")
    return known[short]


def parse_device(name: str | torch.device) -> torch.device:
    """Return the device named `name`; "auto" is the accelerator of this machine or else the CPU.

    Raises `BadInput` for a device that this machine does not have.
    """
    available = {"cpu": 1}
    accelerator = None
    if torch.accelerator.is_available():
        accelerator = torch.accelerator.current_accelerator()
        assert accelerator is not None
        available[accelerator.type] = torch.accelerator.device_count()
    if name == "auto":
        return accelerator or torch.device("cpu")
    listed = ", ".join(
        f"{kind} (x{count})" if count > 1 else kind for kind, count in available.items()
    )
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BadInput(f"unknown device {name!r}; use auto, {listed}") from error
    if (device.index or 0) >= available.get(device.type, 0):
        raise BadInput(f"this machine has no device {str(name)!r}; use auto, {listed}")
    return device


def tensors(module: nn.Module) -> Iterator[Tensor]:
    """Yield all parameters and buffers of a module."""
    return chain(module.parameters(), module.buffers())


@contextmanager
def on_device_read_only(tensors: Iterable[Tensor], device: torch.device) -> Iterator[None]:
    """Copy the data of `tensors` to `device` for reading inside the `with` block.

    Afterwards they use their original memory: nothing is copied back, and ties are kept.
    """
    homes = [(tensor, tensor.data) for tensor in tensors]
    try:
        for tensor, home in homes:
            tensor.data = home.to(device)
        yield
    finally:
        for tensor, home in homes:
            tensor.data = home


@contextmanager
def on_device(module: nn.Module, accelerator: torch.device) -> Iterator[None]:
    """Move `module` to the accelerator for the `with` block, and move it back with its edits."""
    first = next(module.parameters(), None)
    home = first.device if first is not None else accelerator
    try:
        if home != accelerator:
            module.to(accelerator)
        yield
    finally:
        if home != accelerator:
            module.to(home)


def to_device(value: Any, device: torch.device) -> Any:
    """Move every tensor inside tuples, lists and dictionaries to `device`."""
    if isinstance(value, Tensor):
        return value.to(device)
    if type(value) in (tuple, list):
        return type(value)(to_device(item, device) for item in value)
    if isinstance(value, dict):
        return {key: to_device(item, device) for key, item in value.items()}
    return value


def trim_memory() -> None:
    """Return freed main memory to the system.

    Between two blocks, glibc's allocator would keep more than a block needs.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is not None and hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
