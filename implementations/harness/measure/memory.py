"""Size of a model, and peak memory of a block of code with the best instrument of the machine."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import psutil
import torch
from torch import nn

from implementations.harness.model.execution import trim_memory
from implementations.harness.model.experts import TENSORS
from implementations.harness.model.units import total_weights
from implementations.harness.model.view import LanguageModel
from implementations.harness.results.record import Footprint, Peak

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")
INTERVAL = 0.005  # seconds between two samples


class Watch:
    """Result of `peak_memory`."""

    peak: Peak
    """Set at the end of the block."""


class Instrument(Protocol):
    """Interface for measuring the peak memory between two points in time."""

    how: str

    def start(self) -> int:
        """Start measuring and return the bytes in use."""

    def stop(self) -> int:
        """Stop measuring and return the maximum of bytes in use since `start`."""


@contextmanager
def peak_memory(device: torch.device | str) -> Iterator[Watch]:
    """Measure the peak memory of the `with` block; read `watch.peak` after it.

    Measures the tensors allocated on an accelerator that counts them, otherwise the resident set of
    this process: by the kernel's high-water mark if it can be reset (Linux), or else by sampling.
    Must not be nested, because each use resets the counter.
    """
    instrument = best_instrument(torch.device(device))
    watch = Watch()
    start = instrument.start()
    try:
        yield watch
    finally:
        watch.peak = Peak(bytes=instrument.stop(), start=start, how=instrument.how)


def free_memory(device: torch.device) -> int:
    """Return the bytes that tensors on `device` can still take.

    Those of main memory if `device` does not report them.
    """
    module = None if device.type == "cpu" else torch.get_device_module(device)
    if module is not None and hasattr(module, "mem_get_info"):
        # torch keeps the memory of freed tensors; the device does not count it as free.
        kept = module.memory_reserved(device) - module.memory_allocated(device)
        return int(module.mem_get_info(device)[0] + kept)
    return int(psutil.virtual_memory().available)


def best_instrument(device: torch.device) -> Instrument:
    """Choose the instrument for `device` on this machine."""
    if device.type != "cpu" and hasattr(torch.get_device_module(device), "max_memory_allocated"):
        return AllocatorCount(device)
    return HighWaterMark() if HighWaterMark.available() else Sampling()


class AllocatorCount:
    """Exact count of the memory that torch allocated on an accelerator."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.module = torch.get_device_module(device)
        self.how = f"tensors allocated on {device.type}"

    def start(self) -> int:
        """Start measuring and return the bytes in use."""
        gc.collect()
        self.module.reset_peak_memory_stats(self.device)
        return int(self.module.memory_allocated(self.device))

    def stop(self) -> int:
        """Stop measuring and return the maximum of bytes in use since `start`."""
        return int(self.module.max_memory_allocated(self.device))


class HighWaterMark:
    """The kernel's high-water mark of the resident set, which includes short peaks."""

    how = "resident set of the process, high-water mark"

    @staticmethod
    def available() -> bool:
        """Whether the mark can be reset: on Linux, unless a container forbids it."""
        try:
            CLEAR.write_text("5")
        except OSError:
            return False
        return True

    def start(self) -> int:
        """Start measuring and return the bytes in use."""
        gc.collect()
        trim_memory()
        CLEAR.write_text("5")  # resets the mark to the current resident set
        return self.read("VmRSS")

    def stop(self) -> int:
        """Stop measuring and return the maximum of bytes in use since `start`."""
        return self.read("VmHWM")

    @staticmethod
    def read(field: str) -> int:
        """Read a field of the process status in bytes."""
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
        return int(line.split()[1]) * 1024


class Sampling:
    """Maximum over samples of the resident set; misses peaks between two samples."""

    how = f"resident set of the process, sampled every {INTERVAL * 1000:.0f} ms"

    def __init__(self) -> None:
        self.process = psutil.Process()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._sample, daemon=True)
        self.highest = 0

    def start(self) -> int:
        """Start measuring and return the bytes in use."""
        gc.collect()
        trim_memory()
        self.highest = start = self._resident()
        self.thread.start()
        return start

    def stop(self) -> int:
        """Stop measuring and return the maximum of bytes in use since `start`."""
        self.done.set()
        self.thread.join()
        return max(self.highest, self._resident())

    def _sample(self) -> None:
        while not self.done.wait(INTERVAL):
            self.highest = max(self.highest, self._resident())

    def _resident(self) -> int:
        return int(self.process.memory_info().rss)


def footprint(model: LanguageModel, bits: float | None = None, unused: int = 0) -> Footprint:
    """Count the current parameters of `model` without running it, opening one block at a time.

    `bits` is the number of bits per weight of a method that quantises, `unused` the number of
    weights that stay in memory but take part in no multiplication.
    """
    parameters = list(model.hf.parameters())  # tied ones once
    linears = [module for module in model.hf.modules() if isinstance(module, nn.Linear)]
    indices = [buffer for linear in linears for buffer in linear.buffers()]  # of indexed layers
    return Footprint(
        parameters=sum(p.numel() for p in parameters),
        nonzero=sum(int(torch.count_nonzero(p)) for p in _open_parameters(model)),
        bytes=sum(tensor.nbytes for tensor in (*parameters, *indices)),
        macs=sum(linear.weight.numel() for linear in linears) + _routed(model) - unused,
        weights=total_weights(model),
        bits=bits,
    )


def _routed(model: LanguageModel) -> int:
    """Return the multiplications for each token of the routers and of the experts they choose."""
    mixtures = [block.experts for block in model.blocks if block.experts]
    return sum(
        experts.top_k * weight[0].numel() if name in TENSORS else weight.numel()
        for experts in mixtures
        for name, weight in experts.weights().items()
    )


def _open_parameters(model: LanguageModel) -> Iterator[nn.Parameter]:
    """Yield every parameter once, those of a block while it is open."""
    outside = {id(t): t for t in model.outside().values() if isinstance(t, nn.Parameter)}
    yield from outside.values()
    for block in model.visit():
        yield from block.module.parameters()
