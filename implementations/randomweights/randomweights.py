"""Random weights: single weights go by lot, the floor of unstructured pruning."""

from __future__ import annotations

import torch
from torch import Tensor

from implementations.harness import (
    Capabilities,
    LanguageModel,
    Pattern,
    Ratio,
    Tokens,
    WeightMethod,
)


class RandomWeights(WeightMethod):
    """Zero weights by lot, the same share of every linear layer or of every N:M group.

    Source: a baseline without a paper.
    """

    capabilities = Capabilities(granularity=("unstructured", "semi-structured"), calibration="none")

    sparsity: Ratio = 0.5
    """Share of each matrix to zero."""
    pattern: Pattern | None = None
    """Keep KEEP of every GROUP consecutive inputs of a row, as in `2:4`; replaces `sparsity`."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> None:
        for _, _, linear in model.linears():
            linear.weight.masked_fill_(self.draw(linear.weight), 0)

    def draw(self, weight: Tensor) -> Tensor:
        """Mark what goes of `weight [out, in]`: the lowest lots of all, or of each N:M group."""
        lots = torch.rand(weight.shape)  # on the CPU, so that the device does not decide
        return self.choose(lots.to(weight.device), within="matrix")
