"""SparseGPT: each layer by a sparse least-squares solve (Frantar & Alistarh, ICML 2023).

Every linear layer is asked to keep its outputs, `argmin ||W X - (M * W^) X||^2` (Eq. 1). Columns
are pruned left to right; each error is pushed onto the columns still to come by the OBS update
(Eq. 3). The set still to come is the same for all rows, so one factor of the inverse Hessian
serves them all.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import torch
from torch import Tensor

from implementations.harness import (
    AtlasWarning,
    BadInput,
    Capabilities,
    Count,
    Gram,
    LanguageModel,
    Method,
    NonNegative,
    NumericsError,
    Pattern,
    Ratio,
    Tokens,
    share_of,
    smallest,
    smallest_per_group,
    walk,
)

RAISED = (0.01, 0.1, 1.0)  # dampings tried in turn when the one asked for is not enough
PANEL = 32  # columns, rounded to whole groups, between two updates inside a block; any will do


class SparseGPT(Method):
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


def inverse_factor(hessian: Tensor, damping: float, where: str = "layer") -> Tensor:
    """Return the upper triangular `U` with `(H + damping * mean(diag H) * I)^-1 = U^T U`, fp32.

    `U_jj^2` is the first diagonal entry of the inverse of `H_j:,j:` and `U_jj * U_j,j:` its first
    row: all that Eq. 3-5 need of every partial inverse. A factorisation that fails is tried again
    with the dampings of `RAISED`, each with an `AtlasWarning`; raises `NumericsError` after the
    last.
    """
    hessian = hessian.float()
    silent = hessian.diagonal() == 0
    mean = hessian.diagonal().mean()
    dampings = (damping, *(more for more in RAISED if more > damping))
    for tried in dampings:
        damped = hessian + torch.diag(silent.float() + tried * mean)
        # A factor from the lower right: H = R R^T with R upper triangular, so U = R^-1.
        lower, failed = torch.linalg.cholesky_ex(damped.flip(0, 1))
        if not failed and bool(lower.isfinite().all()):
            if tried != damping:
                warnings.warn(
                    f"{where}: Hessian not positive definite with damping {damping:g}, "
                    f"raised to {tried:g}",
                    AtlasWarning,
                    stacklevel=2,
                )
            identity = torch.eye(len(damped), device=damped.device)
            upper: Tensor = torch.linalg.solve_triangular(lower.flip(0, 1), identity, upper=True)
            return upper
    raise NumericsError(
        f"{where}: the Hessian cannot be factorised even with damping {dampings[-1]:g}; "
        "check the calibration data, or use more of it"
    )


def solve(
    weight: Tensor,
    factor: Tensor,
    silent: Tensor,
    config: SparseGPT,
    mask: Tensor | None = None,
) -> Tensor:
    """Return the pruned and compensated weight `[out, in]`, fp32.

    `factor [in, in]` comes from `inverse_factor`; `silent [in]` marks inputs that are always zero,
    whose weights go first. What to remove is chosen on the way, unless a boolean `mask [out, in]`
    says it. The loop is left-looking: a column receives the errors of all columns before it when
    its turn comes: those of earlier blocks, panels and groups as one matrix product each.
    """
    columns = weight.T.clone(memory_format=torch.contiguous_format).float()  # [in, out]
    errors = torch.zeros_like(columns)
    width = len(columns)
    chosen = torch.zeros_like(columns, dtype=torch.bool) if mask is None else mask.T.contiguous()
    group = config.pattern.group if config.pattern else None
    together = group or config.block_size
    panel = group * max(1, PANEL // group) if group else PANEL
    inverse = 1 / factor.diagonal()[:, None]  # [in, 1]
    # What an input never carries costs nothing.
    weighting = inverse.masked_fill(silent[:, None], 0)
    for start, end in spans(0, width, config.block_size):
        receive(columns[start:end], errors[:start], factor[:start, start:end])
        for first, last in spans(start, end, panel):
            receive(columns[first:last], errors[start:first], factor[start:first, first:last])
            for left, right in spans(first, last, group or panel):
                receive(columns[left:right], errors[first:left], factor[first:left, left:right])
                if mask is None and (left - start) % together == 0:
                    ahead = slice(left, min(left + together, end))
                    chosen[ahead] = choose(columns[ahead] * weighting[ahead], config)
                remove = chosen[left:right] * inverse[left:right]
                for j in range(left, right):
                    receive(columns[j : j + 1], errors[left:j], factor[left:j, j : j + 1])
                    torch.mul(columns[j], remove[j - left], out=errors[j])  # (w - 0) / U_jj
    return columns.masked_fill_(chosen, 0).T


def spans(start: int, end: int, step: int) -> Iterator[tuple[int, int]]:
    """Cut `[start, end)` into pieces of `step`, the last one maybe shorter."""
    return ((left, min(left + step, end)) for left in range(start, end, step))


def receive(columns: Tensor, errors: Tensor, factor: Tensor) -> None:
    """Push earlier errors `[k, out]` onto later columns `[n, out]` by `U [k, n]` (Eq. 3)."""
    if len(errors):
        columns.addmm_(factor.T, errors, alpha=-1)


def choose(ratios: Tensor, config: SparseGPT) -> Tensor:
    """Mark what to remove of some columns `[columns, out]`, given `w / U_jj` of each weight.

    The square of `w / U_jj` is the OBS error `w^2 / [H^-1]_jj` of Eq. 3, with the inverse taken
    over the columns still free.
    """
    scores = ratios.square()
    if config.pattern:
        return smallest_per_group(scores.T, config.pattern).T
    flat = scores.T.reshape(1, -1)
    return smallest(flat, share_of(config.sparsity, flat.shape[-1])).view_as(scores.T).T
