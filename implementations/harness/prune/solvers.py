"""The solver of SparseGPT, and the factors it needs.

The caller's `choose` selects the weights to remove, for uniform or layer-wise sparsities or an N:M
pattern.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from implementations.harness.prune.refit import inverse_factor
from implementations.harness.prune.statistics import Gram
from implementations.harness.prune.walk import WalkedBlock

PANEL = 32  # columns, rounded to whole groups, that are updated together within a block


def factored_layers(
    block: WalkedBlock, grams: Mapping[str, Gram], damping: float
) -> Iterator[tuple[str, nn.Linear, Tensor, Tensor]]:
    """Yield role, layer, the `U` of `inverse_factor`, and silent inputs of the observed layers.

    `U` is `[in, in]`; inputs that are always zero are marked as silent, `[in]`. Layers with the
    same input are consecutive and share the factor. Warns and raises as `inverse_factor` does.
    """
    for gram, linears in block.sharing(grams):
        where = f"block {block.index}, {', '.join(linears)}"
        factor = inverse_factor(gram.matrix, damping, where)
        silent = gram.matrix.diagonal() == 0
        for role, linear in linears.items():
            yield role, linear, factor, silent


def sparse_solve(
    weight: Tensor,
    factor: Tensor,
    silent: Tensor,
    choose: Callable[[Tensor], Tensor],
    block_size: int,
    group: int | None = None,
) -> Tensor:
    """Return the pruned weight `[out, in]`, fp32, with the remaining weights updated to compensate.

    `factor [in, in]` is the `U` of `inverse_factor`; `silent [in]` marks inputs that are always
    zero, whose weights cost nothing. From left to right, `choose` gets the costs `[out, columns]`
    of the next `group` (or else `block_size`) columns and returns a boolean mask of weights to
    remove. A cost is the OBS error `w^2 / [H^-1]_jj` (Eq. 3), with the inverse over the columns not
    yet pruned, of weights that were updated for the errors of all earlier columns.

    Columns are updated as late as possible: with their block, then with their panel and group, each
    time by one matrix product.

    The result is that of Algorithm 1 of SparseGPT (Frantar & Alistarh, arXiv:2301.00774).
    """
    columns = weight.T.clone(memory_format=torch.contiguous_format).float()  # [in, out]
    inverse = 1 / factor.diagonal()[:, None]  # 1 / U_jj, [in, 1]
    costly = inverse.masked_fill(silent[:, None], 0)  # weights of silent inputs cost nothing
    removal = torch.zeros_like(columns)  # 1 / U_jj of removed weights, [in, out]
    errors = torch.zeros_like(columns)  # E, [in, out]
    together = group or block_size

    for before, here, width in _steps(0, len(columns), _widths(block_size, group or 1)):
        if before.start < before.stop:  # W_:,j -= sum_i E_:,i U_ij (Eq. 3)
            columns[here].addmm_(factor[before, here].T, errors[before], alpha=-1)
        if width == together:
            costs = (columns[here] * costly[here]).square()  # (w / U_jj)^2
            removal[here] = choose(costs.T).T * inverse[here]
        if width == 1:
            torch.mul(columns[here], removal[here], out=errors[here])  # (w - 0) / U_jj
    return columns.masked_fill_(removal != 0, 0).T


def _steps(start: int, end: int, widths: list[int]) -> Iterator[tuple[slice, slice, int]]:
    """Yield columns to update, after those whose errors they miss, with the width of the step.

    Steps go from left to right, and each is followed by the narrower ones inside it.
    """
    for left in range(start, end, widths[0]):
        here = slice(left, min(left + widths[0], end))
        yield slice(start, left), here, widths[0]
        if len(widths) > 1:
            yield from _steps(here.start, here.stop, widths[1:])


def _widths(block_size: int, group: int) -> list[int]:
    """Return the widths of blocks, panels, groups of a pattern and single columns."""
    panel = min(block_size, group * max(1, PANEL // group))
    return sorted({block_size, panel, group, 1}, reverse=True)
