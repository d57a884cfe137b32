"""Statistics of calibration activations, in fp32 or wider.

Each is constructed as `Gram(features, device=...)`. Apart from rounding, none depends on the batch
size.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Statistic(Protocol):
    """Accumulates the inputs of one linear layer over a calibration set."""

    def update(self, x: Tensor) -> None:
        """Add the tokens `x [..., features]`; the walk gives `[samples, tokens, features]`."""

    def finite(self) -> bool:
        """Return whether all inputs were finite."""


class Gram:
    """The Gram matrix `X^T X` of a layer's inputs, `[features, features]`, fp32 or wider."""

    def __init__(
        self,
        features: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.matrix = torch.zeros(features, features, device=device, dtype=dtype)
        self.count = 0  # tokens

    def update(self, x: Tensor) -> None:
        """Add the tokens `x [..., features]`."""
        x = x.flatten(end_dim=-2).to(self.matrix.dtype)
        self.matrix.addmm_(x.T, x)
        self.count += x.shape[0]

    def finite(self) -> bool:
        """Return whether all inputs were finite."""
        return bool(self.matrix.diagonal().isfinite().all())


class ColumnNorm:
    """The L2 norm of each input feature over all tokens."""

    def __init__(self, features: int, device: torch.device | str = "cpu") -> None:
        self.squares = torch.zeros(features, device=device)
        self.count = 0

    @property
    def norms(self) -> Tensor:
        """`||X_:j||_2` of every feature, `[features]`, fp32."""
        return self.squares.sqrt()

    def update(self, x: Tensor) -> None:
        """Add the tokens `x [..., features]`."""
        x = x.flatten(end_dim=-2)
        self.squares += x.float().square().sum(dim=0)
        self.count += x.shape[0]

    def finite(self) -> bool:
        """Return whether all inputs were finite."""
        return bool(self.squares.isfinite().all())


class ColumnSum:
    """The sum of the absolute values of each input feature over all tokens."""

    def __init__(self, features: int, device: torch.device | str = "cpu") -> None:
        self.sums = torch.zeros(features, device=device)  # ||X_:j||_1, [features], fp32
        self.count = 0

    def update(self, x: Tensor) -> None:
        """Add the tokens `x [..., features]`."""
        x = x.flatten(end_dim=-2)
        self.sums += x.float().abs().sum(dim=0)
        self.count += x.shape[0]

    def finite(self) -> bool:
        """Return whether all inputs were finite."""
        return bool(self.sums.isfinite().all())


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


class SampleNorm:
    """The L2 norm of each input feature over one sample's tokens, averaged over the samples."""

    def __init__(self, features: int, device: torch.device | str = "cpu") -> None:
        self.sum = torch.zeros(features, device=device)
        self.count = 0  # samples

    @property
    def norms(self) -> Tensor:
        """The mean of `||X^(c)_:j||_2` over the samples `c`, `[features]`, fp32."""
        return self.sum / max(self.count, 1)

    def update(self, x: Tensor) -> None:
        """Add whole samples, `x [samples, tokens, features]`."""
        self.sum += x.float().norm(dim=1).sum(dim=0)
        self.count += x.shape[0]

    def finite(self) -> bool:
        """Return whether all inputs were finite."""
        return bool(self.sum.isfinite().all())
