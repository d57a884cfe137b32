"""SlimGPT: Optimal Brain Surgeon for heads and channels (Ling et al., NeurIPS 2024).

The output projections of attention and MLP should keep their outputs with fewer
input columns, `argmin ||W X - W^ X||^2` (Eq. 1). The cheapest columns are removed, a whole head or
a few channels at a time. After each step all remaining columns are corrected for the loss (Eq. 4)
before the next ones are chosen. Early blocks, whose errors grow through the network, lose less than
late ones (Eq. 6).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from implementations.harness import (
    Capabilities,
    Gram,
    LanguageModel,
    NonNegative,
    Ratio,
    Tokens,
    UnitMethod,
    WalkedBlock,
    damped_inverse,
    eliminate,
    keep_channels,
    keep_kv_groups,
    smallest,
    walk,
    widths_left,
)

MOST, FEWEST = 1024, 8  # channels removed per step, at first and at the end (Section 4.2)
Schedule = Literal["halving", "paper-code"]


class SlimGPT(UnitMethod):
    """Remove KV groups and MLP channels by Optimal Brain Surgeon, correcting the kept weights.

    Source: Ling et al., arXiv:2412.18110, Section 4.
    """

    capabilities = Capabilities(
        granularity=("kv-groups", "channels"), calibration="forward", parallel=True
    )
    least = 1

    sparsity: Ratio = 0.2
    """Share of the weights in the decoder's linear layers to remove."""
    first: Ratio = 0.25
    """Pruning ratio of the first decoder layer over the mean (r_0); 1 means uniform ratios."""
    schedule: Schedule = "halving"
    """Channels per step: a quarter, halved down to 8, or the group sizes of the authors' code."""
    compensate: bool = True
    """Correct the remaining columns after each removal (Eq. 4)."""
    damping: NonNegative = 0.01
    """Value added to the Hessian's diagonal, as a fraction of its mean (lambda)."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Prune block by block, attention before the MLP; return the remaining widths."""
        shares = ratios(self.sparsity, self.first * self.sparsity, len(model.blocks))
        lost = self.widths(model, shares, {"kv-groups": self.group_errors(model, calibration)})
        for block in walk(model, calibration):
            groups, channels = lost[block.index]
            attention, feed_forward = block.attention, block.feed_forward
            if groups:
                width = attention.group * attention.head_size  # columns of o per KV group
                keep_kv_groups(attention, self.solve(block, "o", width, [1] * groups))
            if channels:  # after the pruned attention
                counts = group_sizes(channels, self.schedule)
                keep_channels(feed_forward, self.solve(block, "down", 1, counts))
        return widths_left(model)

    def group_errors(self, model: LanguageModel, calibration: Tokens) -> list[Tensor]:
        """Score the KV groups of every block of the dense model (Eq. 4, 5), `[kv groups]` each."""
        scores = []
        for dense in walk(model, calibration, edits=False):
            weight, kv_heads = dense.attention.o.weight.double(), dense.attention.kv_heads
            hessian = dense.observe(Gram, "o")["o"].matrix  # H = X X^T, [in, in]
            inverse = damped_inverse(hessian, self.damping, f"block {dense.index}, o")
            inputs = torch.arange(len(hessian), device=hessian.device)
            groups = inputs.view(kv_heads, len(inputs) // max(kv_heads, 1))
            scores.append(errors(weight, inverse, hessian.diagonal() == 0, groups))
        return scores

    def solve(self, block: WalkedBlock, role: str, width: int, counts: list[int]) -> Tensor:
        """Zero units of `width` inputs in a layer and correct the others; mark the kept units."""
        linear = block.linears()[role]
        hessian = block.observe(Gram, role)[role].matrix  # H = X X^T, [in, in]
        inverse = damped_inverse(hessian, self.damping, f"block {block.index}, {role}")
        weight = linear.weight.double()  # [out, in]
        silent = hessian.diagonal() == 0
        kept = remove(weight, inverse, silent, width, counts, compensate=self.compensate)
        linear.weight.copy_(weight)
        return kept


def ratios(mean: float, first: float, blocks: int) -> Tensor:
    """Return the pruning ratio of each block, fp64 `[blocks]`, for a given `mean`.

    `r_i = r_0 + (r_{n-1} - r_0) log(i + 1) / log(n)` (Eq. 6); `mean` determines `r_{n-1}`.
    """
    if blocks == 1:
        return torch.tensor([mean], dtype=torch.float64)
    steps = torch.arange(1, blocks + 1, dtype=torch.float64)
    rise = steps.log() / steps[-1].log()  # log(i + 1) / log(n)
    last = first + (mean - first) / rise.mean()
    return first + (last - first) * rise


def group_sizes(channels: int, schedule: Schedule = "halving") -> list[int]:
    """Return the number of channels to remove per step (Dynamic Group Size, Section 4.2)."""
    halving = schedule == "halving"
    size = round(channels / 4) if halving else (channels - 512) // 2
    sizes: list[int] = []
    while channels > 0:
        sizes.append(min(channels, max(size, FEWEST if halving else 64), MOST))
        channels -= sizes[-1]
        size = sizes[-1] // 2 if halving else (size - 512) // 2
    return sizes


def remove(
    weight: Tensor,
    inverse: Tensor,
    silent: Tensor,
    width: int,
    counts: list[int],
    *,
    compensate: bool = True,
) -> Tensor:
    """Remove the cheapest units, `counts` per step; return a mask of the kept ones, `[units]`.

    A unit is `width` consecutive columns of `weight [out, in]`; `inverse [in, in]` is the inverse
    of the damped Hessian. Both are fp64 and edited in place. `silent [in]` marks inputs that are
    always zero, which are removed first. Elimination keeps `inverse` valid for the remaining
    columns (Eq. 3); the paper computes a new inverse for every step.
    """
    units = torch.arange(weight.shape[1], device=weight.device).view(-1, width)  # columns of a unit
    kept = torch.ones(len(units), dtype=torch.bool, device=weight.device)
    for count in counts:
        left = units[kept]  # [units left, width]
        removed = smallest(errors(weight, inverse, silent, left), count)
        eliminate(weight if compensate else weight[:0], inverse, left[removed].flatten())
        kept[kept.nonzero().flatten()[removed]] = False
    weight[:, units[~kept].flatten()] = 0  # not yet zero if there is no correction
    return kept


def errors(weight: Tensor, inverse: Tensor, silent: Tensor, units: Tensor) -> Tensor:
    """Estimate the output error of removing each unit, `[units]`, by grouped Cholesky (Eq. 5).

    `units [units, width]` holds column numbers. `c_i`, the squared diagonal of the factor of a
    unit's own block, is `[H^-1]_ii` after the columns before it in the unit are removed. So
    `||W_:,i||^2 / c_i` is Eq. 4, except that the weights are not updated in between. With `width` 1
    it is exactly Eq. 4.
    """
    blocks = inverse[units[:, :, None], units[:, None, :]]  # [units, width, width]
    conditional = torch.linalg.cholesky(blocks).diagonal(dim1=-2, dim2=-1).square()  # c_i
    costs: Tensor = weight.square().sum(dim=0)[units] / conditional  # [units, width]
    return costs.masked_fill(silent[units], 0).sum(dim=1)
