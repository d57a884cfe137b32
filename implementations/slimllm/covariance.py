"""The statistics that SlimLLM collects from the inputs of `o` and `down`."""

from __future__ import annotations

import torch
from torch import Tensor

from implementations.harness import add_up, added_up


class Covariance:
    """Mean and covariance of a layer's inputs over all tokens, fp64.

    Batches are merged as in `Moments` of the harness. Tokens are first centred in fp64, so that a
    large mean does not cost precision. Products are computed in fp32, or in the inputs' dtype if it
    is wider.
    """

    def __init__(self, features: int, device: torch.device | str = "cpu") -> None:
        self.mean = torch.zeros(features, dtype=torch.float64, device=device)
        self.products = torch.zeros(features, features, dtype=torch.float64, device=device)
        self.count = 0  # tokens

    @property
    def matrix(self) -> Tensor:
        """The covariance, divided by the number of tokens, `[features, features]`."""
        return self.products / max(self.count, 1)

    def update(self, x: Tensor) -> None:
        """Add the tokens `x [..., features]`."""
        x = x.flatten(end_dim=-2)
        wide = torch.promote_types(x.dtype, torch.float32)
        x = x.double()
        added = x.shape[0]
        total = self.count + added
        mean = x.mean(dim=0)  # [features]
        shift = mean - self.mean
        x = (x - mean).to(wide)
        self.products += x.T @ x
        self.products.addr_(shift, shift, alpha=self.count * added / total)
        self.mean += shift * (added / total)
        self.count = total

    def finite(self) -> bool:
        """Return whether all inputs so far were finite."""
        return bool(self.products.diagonal().isfinite().all())

    def reduce(self) -> None:
        """Include the inputs of the other processes, by the same update."""
        count, mean = added_up(self.count), self.mean * self.count
        add_up(mean)
        mean /= max(count, 1)
        shift = self.mean - mean
        self.products.addr_(shift, shift, alpha=self.count)
        add_up(self.products)
        self.mean, self.count = mean, count
