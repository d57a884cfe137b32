"""Several processes that prune the same model, each with a part of the calibration set.

    torchrun --nproc-per-node 4 --no-python atlas run wanda --sparsity 0.5

Each process runs its samples through the whole model. Statistics are added up over the processes
before a method reads them, so all processes remove the same weights. The first one then measures
the model.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from implementations.harness.data.tokens import Tokens

T = TypeVar("T", bound=Tokens)

PATIENCE = timedelta(days=7)
"""Time that processes wait for the first one while it measures the dense model."""

# Whether the calibration set is shared; a program may have process groups for other purposes.
_joined = ContextVar("joined", default=False)


def launched() -> int:
    """Return the number of processes that torchrun started, 1 without it."""
    return int(os.environ["WORLD_SIZE"]) if dist.is_torchelastic_launched() else 1


@contextmanager
def joined() -> Iterator[int]:
    """Prune together with the other processes of torchrun inside the `with` block; yield the rank.

    The rank is 0 in the first process and without torchrun.
    """
    if launched() == 1:
        yield 0
        return
    if torch.accelerator.is_available():
        torch.accelerator.set_device_index(
            int(os.environ["LOCAL_RANK"]) % torch.accelerator.device_count()
        )
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE)
    token = _joined.set(True)
    try:
        yield dist.get_rank()
    finally:
        _joined.reset(token)
        dist.destroy_process_group()


def processes() -> int:
    """Return the number of processes that share the calibration set."""
    return dist.get_world_size() if _joined.get() else 1


def own_part(calibration: T) -> T:
    """Return the samples of this process: every n-th of n processes."""
    if not _joined.get():
        return calibration
    return calibration.pick(range(dist.get_rank(), len(calibration.ids), processes()))


def add_up(*tensors: Tensor) -> None:
    """Replace each tensor by its sum over the processes."""
    for tensor in tensors if _joined.get() else ():
        shared = tensor if tensor.is_cuda else tensor.cpu()
        dist.all_reduce(shared)
        tensor.copy_(shared)


def added_up(number: int) -> int:
    """Return the sum of a whole number over the processes."""
    total = torch.tensor(number)
    add_up(total)
    return int(total)
