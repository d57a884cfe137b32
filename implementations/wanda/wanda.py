"""Wanda: prune by weight magnitude times input norm (Sun et al., ICLR 2024)."""

from __future__ import annotations

from torch import Tensor

from implementations.harness import (
    Capabilities,
    ColumnNorm,
    LanguageModel,
    Pattern,
    Ratio,
    Tokens,
    WeightMethod,
    walk,
)


class Wanda(WeightMethod):
    """Zero the weights with the smallest `|W_ij| * ||X_j||` in each output row, without an update.

    Source: Sun et al., arXiv:2306.11695.
    """

    capabilities = Capabilities(
        granularity=("unstructured", "semi-structured"), calibration="forward", parallel=True
    )

    sparsity: Ratio = 0.5
    """Share of the weights of each output row to zero."""
    pattern: Pattern | None = None
    """Keep KEEP of every GROUP consecutive inputs of a row, as in `2:4`; replaces `sparsity`."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> None:
        for block in walk(model, calibration):
            seen = block.observe(ColumnNorm)  # layers still dense, earlier blocks pruned
            for role, linear in block.linears().items():
                removed = self.choose(scores(linear.weight, seen[role].norms))  # boolean, [out, in]
                linear.weight.masked_fill_(removed, 0)


def scores(weight: Tensor, norms: Tensor) -> Tensor:
    """Return `|W_ij| * ||X_j||_2`, fp32 `[out, in]`, given the norms `[in]` of the inputs."""
    return weight.abs().float() * norms
