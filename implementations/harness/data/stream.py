"""Training text: shuffled windows, epoch after epoch."""

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
    """An endless stream of windows of one text; each epoch has every window once, reshuffled."""

    windows: Tokens
    seed: int = 0

    def batches(self, size: int, start: int = 0) -> Iterator[Tensor]:
        """Yield batches of ids `[size, length]` endlessly, beginning with batch number `start`.

        The order does not depend on `start`. A batch may contain the end of one epoch and the
        beginning of the next. Raises `BadInput` for a size below 1.
        """
        if size < 1:
            raise BadInput(f"the batch size must be at least 1, got {size}")
        order = islice(self._order(), start * size, None)
        while True:
            yield self.windows.ids[list(islice(order, size))]  # [size, length]

    def epochs(self, windows: int) -> float:
        """Return how many epochs a number of windows is."""
        return windows / len(self.windows.ids)

    def _order(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed)
        while True:
            yield from torch.randperm(len(self.windows.ids), generator=generator).tolist()


@dataclass(frozen=True, eq=False)
class Calibration(Tokens):
    """The calibration set of a run, with the training texts that its method declares."""

    training: Stream | None = None
    domain: Stream | None = None
    """Text of one domain, for methods that specialise a model for it."""
