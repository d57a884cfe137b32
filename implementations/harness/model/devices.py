"""Dtypes and devices by the names that users give them, and moving things between devices."""

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


def dtype_named(name: str | torch.dtype) -> torch.dtype:
    """Return the dtype called `name`; raises `BadInput` listing those that models are loaded in."""
    known: dict[str, torch.dtype] = {dtype: getattr(torch, dtype) for dtype in DTYPES}
    short = str(name).removeprefix("torch.")
    if short not in known:
        raise BadInput(f"unknown dtype {short!r}; there are {', '.join(known)}")
    return known[short]


def device_named(name: str | torch.device) -> torch.device:
    """Return the device called `name`; "auto" is the accelerator of this machine, else the CPU.

    Raises `BadInput` for a device that is not there.
    """
    there = {"cpu": 1}
    accelerator = None
    if torch.accelerator.is_available():
        accelerator = torch.accelerator.current_accelerator()
        assert accelerator is not None
        there[accelerator.type] = torch.accelerator.device_count()
    if name == "auto":
        return accelerator or torch.device("cpu")
    listed = ", ".join(f"{kind} (x{count})" if count > 1 else kind for kind, count in there.items())
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BadInput(f"unknown device {name!r}; there are auto, {listed}") from error
    if (device.index or 0) >= there.get(device.type, 0):
        raise BadInput(f"device {str(name)!r} is not here; there are auto, {listed}")
    return device


def tensors(module: nn.Module) -> Iterator[Tensor]:
    """Yield all parameters and buffers of a module."""
    return chain(module.parameters(), module.buffers())


@contextmanager
def lent(tensors: Iterable[Tensor], device: torch.device) -> Iterator[None]:
    """Have the data of `tensors` on `device` inside the `with` block, to be read only.

    Afterwards each has the very memory it had before: nothing is copied back, and parameters that
    were tied still are.
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
def moved(module: nn.Module, accelerator: torch.device) -> Iterator[None]:
    """Move `module` to the accelerator for the `with` block, and back with its edits afterwards."""
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


def give_back_freed() -> None:
    """Return freed main memory to the system, which glibc's allocator would keep.

    What it keeps between two blocks is more than what a block needs.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is not None and hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
