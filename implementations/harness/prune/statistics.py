"""Statistics of the inputs of a linear layer, which the walk collects from a calibration set."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from implementations.harness.prune.parallel import add_up, added_up


class Statistic(Protocol):
    """Collects the inputs of one linear layer over a calibration set, in fp32 or wider.

    Constructed as `Gram(features, device=...)`. All except `Latest` accumulate and, apart from
    rounding, do not depend on the batch size.
    """

    def update(self, x: Tensor) -> None:
        """Add the tokens `x [..., features]`; the walk gives `[samples, tokens, features]`."""

    def finite(self) -> bool:
        """Return whether all inputs were finite."""

    def reduce(self) -> None:
        """Include the inputs of all other processes that share the calibration set."""


class Gram:
    """The Gram matrix `X^T X` of a layer's inputs, `[features, features]`, fp32 or wider.

    It is symmetric, so only blocks of rows from the diagonal on are accumulated.
    """

    ROWS = 256
    """Rows per block: large enough for fast products, small enough to skip most of the half."""

    def __init__(
        self,
        features: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._upper = torch.zeros(features, features, device=device, dtype=dtype)
        self._mirrored = True
        self.count = 0  # tokens

    @property
    def matrix(self) -> Tensor:
        """The whole matrix, `[features, features]`."""
        if not self._mirrored:
            for start in range(0, len(self._upper), self.ROWS):
                end = start + self.ROWS
                self._upper[end:, start:end] = self._upper[start:end, end:].T
            self._mirrored = True
        return self._upper

    def update(self, x: Tensor) -> None:
        """Add the tokens `x [..., features]`."""
        x = x.flatten(end_dim=-2).to(self._upper.dtype)
        for start in range(0, len(self._upper), self.ROWS):
            end = start + self.ROWS
            self._upper[start:end, start:].addmm_(x[:, start:end].T, x[:, start:])
        self._mirrored = False
        self.count += x.shape[0]

    def finite(self) -> bool:
        """Return whether all inputs were finite."""
        return bool(self._upper.diagonal().isfinite().all())

    def reduce(self) -> None:
        """Include the inputs of the other processes."""
        add_up(self._upper)
        self.count = added_up(self.count)


class _Sums:
    """A sum of each input feature over all tokens, `[features]`, accumulated in fp64.

    Rounded to fp32, it does not depend on the order of the additions, which differs between
    processors with vectors of 128 and 256 bits. Scores that nearly tie then stay in order.
    """

    def __init__(self, features: int, device: torch.device | str = "cpu") -> None:
        self.total = torch.zeros(features, device=device, dtype=torch.float64)
        self.count = 0  # tokens or samples

    @property
    def sums(self) -> Tensor:
        """The sums, fp32."""
        return self.total.float()

    def finite(self) -> bool:
        """Return whether all inputs were finite."""
        return bool(self.sums.isfinite().all())

    def reduce(self) -> None:
        """Include the inputs of the other processes."""
        add_up(self.total)
        self.count = added_up(self.count)


class ColumnNorm(_Sums):
    """The L2 norm of each input feature over all tokens; `sums` are the sums of the squares."""

    @property
    def norms(self) -> Tensor:
        """`||X_:j||_2` of every feature, `[features]`, fp32."""
        return self.total.sqrt().float()

    def update(self, x: Tensor) -> None:
        """Add the tokens `x [..., features]`."""
        x = x.flatten(end_dim=-2)
        self.total += x.float().square().sum(dim=0, dtype=torch.float64)
        self.count += x.shape[0]


class ColumnSum(_Sums):
    """The sum of the absolute values of each input feature over all tokens, `||X_:j||_1`."""

    def update(self, x: Tensor) -> None:
        """Add the tokens `x [..., features]`."""
        x = x.flatten(end_dim=-2)
        self.total += x.float().abs().sum(dim=0, dtype=torch.float64)
        self.count += x.shape[0]


class SampleNorm(_Sums):
    """The L2 norm of each input feature over one sample's tokens, averaged over the samples."""

    @property
    def norms(self) -> Tensor:
        """The mean of `||X^(c)_:j||_2` over the samples `c`, `[features]`, fp32."""
        return (self.total / max(self.count, 1)).float()

    def update(self, x: Tensor) -> None:
        """Add whole samples, `x [samples, tokens, features]`."""
        self.total += x.double().norm(dim=1).sum(dim=0)
        self.count += x.shape[0]


class Moments:
    """Mean and variance of each input feature over all tokens, fp64.

    Batches are merged by the update of Chan, Golub and LeVeque (1983), which is accurate even if
    the mean is large compared with the spread.
    """

    def __init__(self, features: int, device: torch.device | str = "cpu") -> None:
        self.mean = torch.zeros(features, dtype=torch.float64, device=device)
        self.squares = torch.zeros(features, dtype=torch.float64, device=device)  # around the mean
        self.count = 0

    @property
    def variance(self) -> Tensor:
        """The unbiased sample variance, `[features]`; zero for a single token."""
        return self.squares / max(self.count - 1, 1)

    def update(self, x: Tensor) -> None:
        """Add the tokens `x [..., features]`."""
        x = x.flatten(end_dim=-2).double()
        added = x.shape[0]
        total = self.count + added
        mean = x.mean(dim=0)  # [features]
        shift = mean - self.mean
        self.squares += (x - mean).square().sum(dim=0)
        self.squares += shift.square() * (self.count * added / total)
        self.mean += shift * (added / total)
        self.count = total

    def finite(self) -> bool:
        """Return whether all inputs were finite."""
        return bool(self.squares.isfinite().all())

    def reduce(self) -> None:
        """Include the inputs of the other processes, by the same update."""
        count, mean = added_up(self.count), self.mean * self.count
        add_up(mean)
        mean /= max(count, 1)
        self.squares += (self.mean - mean).square() * self.count
        add_up(self.squares)
        self.mean, self.count = mean, count


class Latest:
    """The inputs of a layer in the micro-batch that ran last, `[tokens, features]`, fp32."""

    def __init__(self, features: int, device: torch.device | str = "cpu") -> None:
        self.x = torch.empty(0, features, device=device)

    def update(self, x: Tensor) -> None:
        """Take the tokens `x [..., features]`."""
        self.x = x.flatten(end_dim=-2).float()

    def finite(self) -> bool:
        """Return whether all inputs were finite."""
        return bool(self.x.isfinite().all())

    def reduce(self) -> None:
        """Keep the inputs of this process."""
