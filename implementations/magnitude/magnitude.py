"""Magnitude pruning: small weights go, whatever flows through them (Han et al., NeurIPS 2015)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from implementations.harness import (
    Capabilities,
    LanguageModel,
    Method,
    Pattern,
    Ratio,
    Tokens,
    smallest,
    smallest_per_group,
)


class Magnitude(Method):
    """Zero the weights of smallest absolute value in every linear layer.

    Source: Han et al., arXiv:1506.02626; N:M after Mishra et al., arXiv:2104.08378.
    """

    capabilities = Capabilities(granularity=("unstructured", "semi-structured"), calibration="none")

    sparsity: Ratio = 0.5
    """Share of each matrix to zero."""
    pattern: Pattern | None = None
    """Keep KEEP of every GROUP consecutive inputs of a row, as in `2:4`; replaces `sparsity`."""
    compare: Literal["matrix", "row"] = "matrix"
    """Which weights compete without a pattern: those of the whole matrix, or of one output row."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> None:
        for _, _, linear in model.linears():
            linear.weight.masked_fill_(mask(linear.weight, self), 0)


def mask(weight: Tensor, config: Magnitude) -> Tensor:
    """Mark the weights to remove, boolean like `weight [out, in]`."""
    scores = weight.abs()
    if config.pattern:
        return smallest_per_group(scores, config.pattern)
    rows = scores if config.compare == "row" else scores.reshape(1, -1)
    return smallest(rows, round(config.sparsity * rows.shape[-1])).view_as(weight)
