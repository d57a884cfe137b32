"""SparseGPT: prune layers by sparse least squares (Frantar & Alistarh, ICML 2023).

Every linear layer should keep its outputs, `argmin ||W X - (M * W^) X||^2` (Eq. 1). Columns are
pruned from left to right. The OBS update (Eq. 3) compensates each error in the later columns. The
set of later columns is the same for all rows, so one factor of the inverse Hessian serves all rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from implementations.harness import (
    Capabilities,
    Count,
    Gram,
    LanguageModel,
    NonNegative,
    Pattern,
    Ratio,
    Tokens,
    WalkedBlock,
    WeightMethod,
    factored_layers,
    sparse_solve,
    walk,
)


class SparseGPT(WeightMethod):
    """Prune each linear layer column by column, with OBS updates from one shared inverse Hessian.

    Source: Frantar & Alistarh, arXiv:2301.00774, Algorithm 1.
    """

    capabilities = Capabilities(
        granularity=("unstructured", "semi-structured"), calibration="forward", parallel=True
    )

    sparsity: Ratio = 0.5
    """Share of weights to zero in each block of columns, over all rows of the matrix together."""
    pattern: Pattern | None = None
    """Keep KEEP of every GROUP consecutive inputs of a row, as in `2:4`; replaces `sparsity`."""
    block_size: Count = 128
    """Number of columns whose mask is chosen together, and between two lazy updates (B_s and B)."""
    damping: NonNegative = 0.01
    """Value added to the Hessian's diagonal, as a fraction of its mean (lambda)."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        super().check(model, calibration)
        self.check_block_size(self.block_size)

    def prune(self, model: LanguageModel, calibration: Tokens) -> None:
        for block in walk(model, calibration):
            self.prune_block(block)  # its Hessians are freed before the next block's are collected

    def prune_block(self, block: WalkedBlock) -> None:
        """Prune the linear layers of a block in place, from the activations of the dense block."""
        grams = block.observe(Gram)  # H = X X^T, once per distinct input
        for _, linear, factor, silent in factored_layers(block, grams, self.damping):
            linear.weight.copy_(self.solve(linear.weight, factor, silent))

    def algorithm_1(self, weight: Tensor, factor: Tensor, silent: Tensor) -> Tensor:
        """Return the pruned and compensated weight `[out, in]`, one column after the other.

        `factor [in, in]` is `U`, with `H^-1 = U^T U`; `silent [in]` marks inputs that are always
        zero. This is the definition of the method: `solve` computes the same several times faster.
        """
        W, U = weight.clone().float(), factor
        removed = torch.zeros_like(W, dtype=torch.bool)
        width = self.pattern.group if self.pattern else self.block_size
        for j in range(W.shape[1]):
            if j % width == 0:
                ahead = slice(j, j + width)
                costs = (W[:, ahead] / U.diagonal()[ahead]).square()  # w^2 / [H^-1]_jj, Eq. 3
                removed[:, ahead] = self.mask(costs.masked_fill(silent[ahead], 0))
            error = W[:, j] * removed[:, j] / U[j, j]  # E_:,j, [out]
            W[:, j:] -= torch.outer(error, U[j, j:])  # Eq. 3, for this and all later columns
        return W.masked_fill(removed, 0)

    def solve(self, weight: Tensor, factor: Tensor, silent: Tensor) -> Tensor:
        """Return the result of `algorithm_1` in fp32, computed block by block."""
        group = self.pattern.group if self.pattern else None
        return sparse_solve(weight, factor, silent, self.mask, self.block_size, group)

    def mask(self, costs: Tensor) -> Tensor:
        """Mark the weights to remove, `[out, columns]`, given `(w / U_jj)^2` of each weight.

        The costs are the OBS errors `w^2 / [H^-1]_jj` of Eq. 3, over the columns not yet processed.
        All rows of a block of columns compete together; with a pattern, each group by itself.
        """
        return self.choose(costs, within="matrix")
