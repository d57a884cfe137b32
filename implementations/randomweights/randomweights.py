"""Random weights: zero single weights at random, a baseline of unstructured pruning."""

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
    """Zero weights at random, the same share of every linear layer or of every N:M group.

    Source: a baseline without a paper.
    """

    capabilities = Capabilities(granularity=("unstructured", "semi-structured"), calibration="none")

    sparsity: Ratio = 0.5
    """Share of the weights of each matrix to set to zero."""
    pattern: Pattern | None = None
    """Keep KEEP of every GROUP consecutive inputs of a row, as in `2:4`; replaces `sparsity`."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> None:
        for _, _, linear in model.linears():
            linear.weight.masked_fill_(self.draw(linear.weight), 0)

    def draw(self, weight: Tensor) -> Tensor:
        """Return a random mask of the weights to remove, with the shape of `weight [out, in]`.

        It marks the lowest random numbers of the whole matrix, or of each N:M group.
        """
        ranks = torch.rand(weight.shape)  # on the CPU: same result on every device
        return self.choose(ranks.to(weight.device), within="matrix")
