"""OWL: prune blocks with many outliers less (Yin et al., ICML 2024).

An outlier is a weight whose Wanda score is many times the mean score of its block. The more
outliers a block has, the harder it is to prune. So each block gets a sparsity of its own, and
another method prunes the block to it.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from implementations.harness import (
    Capabilities,
    ColumnNorm,
    Count,
    LanguageModel,
    NonNegative,
    Ratio,
    Tokens,
    WalkedBlock,
    WeightMethod,
    block_weights,
    prune_by_input_norms,
    prune_by_magnitude,
    prune_by_solving,
    walk,
)


class OWL(WeightMethod):
    """Set the sparsity of decoder layers by their outliers; prune by Wanda, SparseGPT or magnitude.

    Source: Yin et al., arXiv:2310.05175.
    """

    capabilities = Capabilities(granularity=("unstructured",), calibration="forward", parallel=True)

    sparsity: Ratio = 0.7
    """Share of all decoder layers' weights to set to zero (s)."""
    base: Literal["wanda", "sparsegpt", "magnitude"] = "wanda"
    """Base method that prunes each decoder layer to its share."""
    outlier: NonNegative = 5.0
    """Outlier threshold, as a multiple of the mean score of the decoder layer (M)."""
    spread: NonNegative = 0.08
    """Half the difference between the largest and the smallest share (lambda)."""
    block_size: Count = 128
    """SparseGPT only: number of columns whose mask is chosen together (B)."""
    damping: NonNegative = 0.01
    """SparseGPT only: damping of the Hessian's diagonal, as a fraction of its mean."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Count the outliers of the dense blocks, then prune; return outliers and shares."""
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
        for block in walk(model, calibration):
            self.prune_block(block, counts[block.index])
        applied = [
            sum(lost.values()) / max(block_weights(block), 1)
            for lost, block in zip(counts, model.blocks, strict=True)
        ]
        return {"outliers": outliers, "shares": applied}

    def prune_block(self, block: WalkedBlock, counts: dict[str, int]) -> None:
        """Remove `counts` weights from each layer, by role, with the base method."""
        if self.base == "sparsegpt":
            prune_by_solving(block, counts, self.block_size, self.damping)
        elif self.base == "wanda":
            prune_by_input_norms(block, counts)
        else:
            prune_by_magnitude(block, counts)


def outlier_percentage(scores: list[Tensor], times: float) -> float:
    """Return the percentage of a block's scores that exceed `times` their mean (D); 0 if none."""
    count = max(sum(score.numel() for score in scores), 1)
    mean = sum(float(score.sum(dtype=torch.float64)) for score in scores) / count
    return 100 * sum(int((score > times * mean).sum()) for score in scores) / count


def layer_shares(outliers: Tensor, sparsity: float, spread: float) -> Tensor:
    """Return the share of weights to remove from each block, `[blocks]`.

    Blocks with a higher percentage of `outliers [blocks]` get a smaller share. Shares differ by at
    most `2 * spread`; they are equal if all percentages are. They are clipped to between 0 and 1;
    unless that happens, their mean is `sparsity`.
    """
    width = outliers.max() - outliers.min()
    if width == 0:
        return torch.full_like(outliers, sparsity)
    kept = (outliers - outliers.min()) / width * 2 * spread
    return (sparsity - (kept - kept.mean())).clamp(0, 1)
