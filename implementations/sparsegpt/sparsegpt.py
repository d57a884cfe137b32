"""SparseGPT: each layer by a sparse least-squares solve (Frantar & Alistarh, ICML 2023).

Every linear layer is asked to keep its outputs, `argmin ||W X - (M * W^) X||^2` (Eq. 1). Columns
are pruned left to right; each error is pushed onto the columns still to come by the OBS update
(Eq. 3). The set still to come is the same for all rows, so one factor of the inverse Hessian
serves them all.
"""

from __future__ import annotations

import torch
from torch import Tensor

from implementations.harness import (
    BadInput,
    Capabilities,
    Count,
    Gram,
    LanguageModel,
    NonNegative,
    Pattern,
    Ratio,
    Tokens,
    WeightMethod,
    inverse_factor,
    walk,
)

PANEL = 32  # columns, rounded to whole groups, that receive the errors of a block together


class SparseGPT(WeightMethod):
    """Prune each linear layer by a sparse least-squares solve with one shared inverse Hessian.

    Source: Frantar & Alistarh, arXiv:2301.00774, Algorithm 1.
    """

    capabilities = Capabilities(
        granularity=("unstructured", "semi-structured"), calibration="forward"
    )

    sparsity: Ratio = 0.5
    """Share of each block of columns to zero, all rows of the matrix together."""
    pattern: Pattern | None = None
    """Keep KEEP of every GROUP consecutive inputs of a row, as in `2:4`; replaces `sparsity`."""
    block_size: Count = 128
    """Columns whose mask is chosen together, and between two updates of all later ones (B)."""
    damping: NonNegative = 0.01
    """Added to the Hessian's diagonal, as a fraction of its mean."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        super().check(model, calibration)
        if self.pattern and self.block_size % self.pattern.group:
            raise BadInput(
                f"pattern {self.pattern} needs a block_size divisible by {self.pattern.group}, "
                f"not {self.block_size}"
            )

    def prune(self, model: LanguageModel, calibration: Tokens) -> None:
        for block in walk(model, calibration):
            grams = block.observe(Gram)  # H = X X^T, once for all layers that share an input
            for gram, linears in block.sharing(grams):
                where = f"block {block.index}, {', '.join(linears)}"
                factor = inverse_factor(gram.matrix, self.damping, where)
                silent = gram.matrix.diagonal() == 0
                for linear in linears.values():
                    linear.weight.copy_(solve(linear.weight, factor, silent, self))

    def widths(self) -> list[int]:
        """Columns cut together, from blocks over panels and groups of the pattern down to one."""
        group = self.pattern.group if self.pattern else 1
        panel = min(self.block_size, group * max(1, PANEL // group))
        return sorted({self.block_size, panel, group, 1}, reverse=True)


def solve(
    weight: Tensor,
    factor: Tensor,
    silent: Tensor,
    config: SparseGPT,
    mask: Tensor | None = None,
) -> Tensor:
    """Return the pruned and compensated weight `[out, in]`, fp32.

    `factor [in, in]` is the `U` of `inverse_factor`; `silent [in]` marks inputs that are always
    zero, whose weights go first. What to remove is chosen on the way, unless a boolean `mask [out,
    in]` says it. A column receives the errors of all columns before it when its turn comes: first
    with its whole block, then with its panel and group, each time as one matrix product.
    """
    columns = weight.T.clone(memory_format=torch.contiguous_format).float()  # [in, out]
    inverse = 1 / factor.diagonal()[:, None]  # 1 / U_jj, [in, 1]
    costly = inverse.masked_fill(silent[:, None], 0)  # what an input never carries costs nothing
    removal = torch.zeros_like(columns) if mask is None else mask.T * inverse  # [in, out]
    errors = torch.zeros_like(columns)  # E, [in, out]
    together = config.pattern.group if config.pattern else config.block_size

    def prune(start: int, end: int, widths: list[int]) -> None:
        """Prune the columns `[start, end)`, which have received all errors from before `start`."""
        for left in range(start, end, widths[0]):
            here, before = slice(left, min(left + widths[0], end)), slice(start, left)
            if left > start:  # W_:,j -= sum_i E_:,i U_ij (Eq. 3)
                columns[here].addmm_(factor[before, here].T, errors[before], alpha=-1)
            if widths[0] == together and mask is None:
                removal[here] = choose(columns[here] * costly[here], config) * inverse[here]
            if widths[0] > 1:
                prune(here.start, here.stop, widths[1:])
            else:
                torch.mul(columns[left], removal[left], out=errors[left])  # (w - 0) / U_jj

    prune(0, len(columns), config.widths())
    return columns.masked_fill_(removal != 0, 0).T


def choose(ratios: Tensor, config: SparseGPT) -> Tensor:
    """Mark what to remove of some columns `[columns, out]`, given `w / U_jj` of each weight.

    The square of `w / U_jj` is the OBS error `w^2 / [H^-1]_jj` of Eq. 3, with the inverse taken
    over the columns still free.
    """
    return config.choose(ratios.square().T, within="matrix").T
