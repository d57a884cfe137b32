"""Wanda: weights times the norm of what flows through them (Sun et al., ICLR 2024)."""

from __future__ import annotations

from torch import Tensor

from implementations.harness import (
    Capabilities,
    ColumnNorm,
    LanguageModel,
    Method,
    Pattern,
    Ratio,
    Tokens,
    share_of,
    smallest,
    smallest_per_group,
    walk,
)


class Wanda(Method):
    """Zero, in each output row, the weights of smallest `|W_ij| * ||X_j||`; no weight is updated.

    Source: Sun et al., arXiv:2306.11695.
    """

    capabilities = Capabilities(
        granularity=("unstructured", "semi-structured"), calibration="forward"
    )

    sparsity: Ratio = 0.5
    """Share of each output row to zero."""
    pattern: Pattern | None = None
    """Keep KEEP of every GROUP consecutive inputs of a row, as in `2:4`; replaces `sparsity`."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> None:
        for block in walk(model, calibration):
            norms = block.observe(ColumnNorm)  # all layers still dense, inputs already pruned
            for role, linear in block.linears().items():
                linear.weight.masked_fill_(mask(linear.weight, norms[role].norms, self), 0)


def mask(weight: Tensor, norms: Tensor, config: Wanda) -> Tensor:
    """Mark the weights to remove, boolean like `weight [out, in]`, given input norms `[in]`."""
    scores = weight.abs().float() * norms  # S_ij = |W_ij| * ||X_j||_2
    if config.pattern:
        return smallest_per_group(scores, config.pattern)
    return smallest(scores, share_of(config.sparsity, scores.shape[-1]))
