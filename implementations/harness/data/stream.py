"""Text to train on: windows in an order drawn by a seed, epoch after epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from implementations.harness.data.tokens import Tokens
from implementations.harness.errors import BadInput


@dataclass(frozen=True)
class Stream:
    """Windows of one text, without end; every epoch has each window once, in its own order."""

    windows: Tokens
    seed: int = 0

    def batches(self, size: int, start: int = 0) -> Iterator[Tensor]:
        """Yield batches of ids `[size, length]`, from batch number `start` on, without end.

        Where one starts does not change what comes. A batch may hold the end of one epoch and the
        beginning of the next. Raises `BadInput` for a size below 1.
        """
        if size < 1:
            raise BadInput(f"batch size {size}: it must be at least 1")
        order = islice(self._order(), start * size, None)
        while True:
            yield self.windows.ids[list(islice(order, size))]  # [size, length]

    def epochs(self, windows: int) -> float:
        """Say how often the whole text was read after so many windows."""
        return windows / len(self.windows.ids)

    def _order(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed)
        while True:
            yield from torch.randperm(len(self.windows.ids), generator=generator).tolist()


@dataclass(frozen=True, eq=False)
class Calibration(Tokens):
    """The samples of a run, and the text to train on where its method asks for one."""

    training: Stream | None = None
    domain: Stream | None = None
    """Text of one kind, for methods that fit a model to that."""
