"""OWL: blocks with many outliers lose less (Yin et al., ICML 2024).

An outlier is a weight whose Wanda score is many times the mean of its block. Blocks differ in how
many they have, and are the harder to prune the more. So each block gets a share of its own, and
another method prunes it to that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from implementations.harness import (
    Capabilities,
    ColumnNorm,
    Count,
    Gram,
    LanguageModel,
    NonNegative,
    Ratio,
    Tokens,
    WalkedBlock,
    WeightMethod,
    apportion,
    factored,
    sparse_solve,
    walk,
)


class OWL(WeightMethod):
    """Give every block a share by its outliers, and prune by Wanda, SparseGPT or magnitude.

    Source: Yin et al., arXiv:2310.05175.
    """

    capabilities = Capabilities(granularity=("unstructured",), calibration="forward")

    sparsity: Ratio = 0.7
    """Share of the weights to zero, over all blocks."""
    base: Literal["wanda", "sparsegpt", "magnitude"] = "wanda"
    """What prunes a block to its share."""
    outlier: NonNegative = 5.0
    """From how many times the mean of its block on a score is an outlier (M)."""
    spread: NonNegative = 0.08
    """Half of the difference between the largest and the smallest share (lambda)."""
    block_size: Count = 128
    """With SparseGPT: columns whose mask is chosen together (B)."""
    damping: NonNegative = 0.01
    """With SparseGPT: added to the Hessian's diagonal, as a fraction of its mean."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Count the outliers of the dense blocks, then prune from the start; return both."""
        outliers: list[float] = []
        for dense in walk(model, calibration, edits=False):
            seen = dense.observe(ColumnNorm)
            linears = dense.linears()
            scores = [linears[r].weight.abs().float() * seen[r].norms for r in linears]
            outliers.append(outlier_percentage(scores, self.outlier))
        shares = layer_shares(
            torch.tensor(outliers, dtype=torch.float64), self.sparsity, self.spread
        )
        counts = self.counts(model, shares)
        for block, lost in zip(walk(model, calibration), counts, strict=True):
            self.prune_block(block, lost)
        return {"outliers": outliers, "shares": shares.tolist()}

    def prune_block(self, block: WalkedBlock, lost: dict[str, int]) -> None:
        """Take from every layer as many weights as `lost` says, as the base method does."""
        linears = block.linears()
        if self.base == "sparsegpt":
            grams = block.observe(Gram)
            for role, linear, factor, silent in factored(block, grams, self.damping):
                W, choose = linear.weight, self.in_turn(lost[role], linear.weight)
                W.copy_(sparse_solve(W, factor, silent, choose, self.block_size))
        elif self.base == "wanda":
            seen = block.observe(ColumnNorm)
            for role, linear in linears.items():
                scores = linear.weight.abs().float() * seen[role].norms  # |W_ij| ||X_j||_2
                linear.weight.masked_fill_(self.choose(scores, "row", lost[role]), 0)
        else:
            for role, linear in linears.items():
                gone = self.choose(linear.weight.abs(), "matrix", lost[role])
                linear.weight.masked_fill_(gone, 0)

    def in_turn(self, count: int, weight: Tensor) -> Callable[[Tensor], Tensor]:
        """Return what marks the part of `count` that each block of columns loses, in its turn."""
        sizes = torch.tensor([part.numel() for part in weight.split(self.block_size, dim=1)])
        parts = iter(apportion(torch.ones(len(sizes)), sizes, count).tolist())
        return lambda costs: self.choose(costs, "matrix", next(parts))


def outlier_percentage(scores: list[Tensor], times: float) -> float:
    """Return how many percent of all scores of a block exceed `times` their mean (D)."""
    count = sum(score.numel() for score in scores)
    mean = sum(float(score.double().sum()) for score in scores) / count
    return 100 * sum(int((score > times * mean).sum()) for score in scores) / count


def layer_shares(outliers: Tensor, sparsity: float, spread: float) -> Tensor:
    """Return the share that each block loses, `[blocks]`, `sparsity` on average.

    Shares fall with the percentage of `outliers [blocks]` and lie within `2 * spread`; all are
    alike where blocks do not differ. What would lie outside of 0 and 1 is cut off.
    """
    width = outliers.max() - outliers.min()
    if width == 0:
        return torch.full_like(outliers, sparsity)
    kept = (outliers - outliers.min()) / width * 2 * spread
    return (sparsity - (kept - kept.mean())).clamp(0, 1)
