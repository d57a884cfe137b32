"""Compile the simulated accelerator and register it with PyTorch as the device `simulated`.

This module is also `torch.simulated`, where PyTorch and the harness look for the functions of a
device by their names.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from filelock import FileLock
from platformdirs import user_cache_path
from torch import Tensor

NAME = "simulated"
SOURCE = Path(__file__).with_name("device.cpp")
COMPILER = os.environ.get("CXX", "g++")


def register() -> None:
    """Make the device available to this process, for good; raises `OSError` without a compiler."""
    torch.ops.load_library(compiled())
    torch.utils.rename_privateuse1_backend(NAME)
    torch.ops.simulated_accelerator.register_hooks()
    torch._register_device_module(NAME, sys.modules[__name__])
    torch.utils.generate_methods_for_privateuse1_backend(for_storage=True)
    torch.library.register_kernel("aten::histc", NAME, histogram)


def histogram(x: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """Compute `torch.histc` of integers, which GPUs can and the CPU cannot."""
    return torch.histc(x.cpu().float(), bins, min, max).to(x)


def compiled() -> Path:
    """Return the compiled library for this release of torch, compiling it at the first use."""
    if shutil.which(COMPILER) is None:
        raise OSError(f"no C++ compiler {COMPILER!r}; install g++ or name another one in CXX")
    installed = Path(torch.__file__).parent
    command = [
        *(COMPILER, "-shared", "-fPIC", "-std=c++20", "-O1"),
        f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}",
        *("-isystem", str(installed / "include")),
        *("-isystem", str(installed / "include/torch/csrc/api/include")),
        str(SOURCE),
        *(f"-L{installed / 'lib'}", "-ltorch_cpu", "-lc10"),
    ]
    version = hashlib.sha256(f"{torch.__version__} {command}".encode() + SOURCE.read_bytes())
    folder = user_cache_path("pruning-atlas", ensure_exists=True)
    library = folder / f"simulated-accelerator-{version.hexdigest()[:16]}.so"
    with FileLock(f"{library}.lock"):  # workers of pytest-xdist start at the same time
        if not library.exists():
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                output = Path(scratch) / library.name
                subprocess.run([*command, "-o", str(output)], check=True)
                output.replace(library)
    return library


def is_available() -> bool:
    """Return whether the device can be used."""
    return True


def is_initialized() -> bool:
    """Return whether the device is ready."""
    return True


def device_count() -> int:
    """Return the number of devices."""
    return 1


def current_device() -> int:
    """Return the index of the current device."""
    return 0


def device(index: object) -> AbstractContextManager[None]:
    """Return a context in which the device is the current one, which it always is."""
    return nullcontext()


def get_device_name(device: object = None) -> str:
    """Return the name for records."""
    return "simulated accelerator"


def get_amp_supported_dtype() -> list[torch.dtype]:
    """Return the dtypes of autocast."""
    return [torch.bfloat16, torch.float16]


def _is_in_bad_fork() -> bool:
    return False


def manual_seed_all(seed: int) -> None:
    """Seed the global generator of the device."""
    torch.ops.simulated_accelerator.manual_seed(seed)


def get_rng_state(device: object = None) -> Tensor:
    """Return the state of the global generator of the device."""
    return torch.ops.simulated_accelerator.get_rng_state()


def set_rng_state(state: Tensor, device: object = None) -> None:
    """Set the state of the global generator of the device."""
    torch.ops.simulated_accelerator.set_rng_state(state)


def memory_allocated(device: object = None) -> int:
    """Return the bytes of all tensors on the device."""
    return torch.ops.simulated_accelerator.memory_allocated()


def max_memory_allocated(device: object = None) -> int:
    """Return the largest number of bytes since `reset_peak_memory_stats`."""
    return torch.ops.simulated_accelerator.max_memory_allocated()


def reset_peak_memory_stats(device: object = None) -> None:
    """Start measuring the peak from the bytes allocated now."""
    torch.ops.simulated_accelerator.reset_peak_memory_stats()
