"""Dtypes and devices by the names that users give them."""

from __future__ import annotations

import torch

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
