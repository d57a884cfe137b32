"""Magnitude pruning: remove the smallest weights, without looking at data (Han et al., 2015)."""

from __future__ import annotations

from typing import Literal

from implementations.harness import (
    Capabilities,
    LanguageModel,
    Pattern,
    Ratio,
    Tokens,
    WeightMethod,
)


class Magnitude(WeightMethod):
    """Zero the weights with the smallest absolute values in every linear layer.

    Source: Han et al., arXiv:1506.02626; N:M after Mishra et al., arXiv:2104.08378.
    """

    capabilities = Capabilities(granularity=("unstructured", "semi-structured"), calibration="none")

    sparsity: Ratio = 0.5
    """Share of the weights of each matrix to set to zero."""
    pattern: Pattern | None = None
    """Keep KEEP of every GROUP consecutive inputs of a row, as in `2:4`; replaces `sparsity`."""
    compare: Literal["matrix", "row"] = "matrix"
    """Weights that are compared if there is no pattern: the whole matrix, or each output row."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> None:
        for _, _, linear in model.linears():
            removed = self.choose(linear.weight.abs(), within=self.compare)  # [out, in]
            linear.weight.masked_fill_(removed, 0)
