"""PBS2P: two levels a row, and an N:M mask that comes step by step (Yan et al., arXiv 2025).

Each row of 128 columns is `alpha * sign + mu`. To binarise and then prune hurts twice, so the mask
comes in steps, and after each of them the scale and the offset are fitted anew, in closed form, to
what the layer puts out. Blocks that turn the hidden state more keep more.
"""

from __future__ import annotations

import math
from typing import Any, Literal

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
    Whole,
    damped_inverse,
    factored,
    smallest,
    turn,
    unit_costs,
    walk,
)

SCALES = 2 * 16  # bits of alpha and mu, a row and block of columns
STEADY = 1e-6  # part of its diagonal below which a quadratic form is rounding


class PBS2P(WeightMethod):
    """Binarise every linear layer and prune it N:M in steps, refitting scale and offset each time.

    Source: Yan et al., arXiv:2502.01705, as far as it is known; see the README.
    """

    capabilities = Capabilities(
        granularity=("semi-structured",), calibration="forward", quantises=True
    )

    sparsity: Ratio = 0.5
    """Share of the weights to zero: each block has an N of its own, in the mean this share."""
    pattern: Pattern | None = None
    """Keep KEEP of every GROUP inputs of a row in all blocks alike; replaces `sparsity`."""
    group: Count = 8
    """Consecutive inputs of a row of which N are kept, where there is no pattern (M)."""
    spread: Whole = 1
    """By how much N of a block may differ from the mean one (N_low, N_high)."""
    block_size: Count = 128
    """Columns that share scale and offset of a row."""
    alternations: Whole = 2
    """Fits of offset and scale after every step; 0 leaves both as they were (tau)."""
    score: Literal["residual", "obs", "obs-squared"] = "residual"
    """What a weight costs: by the error as it is at this step, or as OBS has it for dense ones."""
    stepwise: bool = True
    """Prune one weight of every group at a time, not all at once."""
    refresh: bool = False
    """Choose the signs of what stays anew after every step."""
    compensate: bool = True
    """Let later columns make up for the error of those before."""
    damping: NonNegative = 0.01
    """Added to the diagonal of a matrix to be inverted, as a fraction of its mean."""

    @property
    def grouped(self) -> int:
        return self.pattern.group if self.pattern else self.group

    def unit(self, model: LanguageModel) -> int:
        """Count what the largest block loses when its N falls by one."""
        return max(int(unit_costs(block, "blocks")) for block in model.blocks) // self.grouped

    def reach(self, model: LanguageModel) -> float:
        """Return the share at which every group keeps one."""
        return 1 - 1 / self.grouped

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        super().check(model, calibration)
        if self.block_size % self.grouped:
            raise BadInput(
                f"groups of {self.grouped} need a block_size divisible by {self.grouped}, "
                f"not {self.block_size}"
            )

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Choose N of every block, then compress; return N and importance of blocks, and bits.

        A budget that takes nothing leaves the model as it is, in its dtype.
        """
        if self.target == 0:
            return {}
        importance: list[float] = []
        kept = [self.pattern.keep if self.pattern else 0] * len(model.blocks)
        if not self.pattern:
            for block in walk(model, calibration, edits=False):
                turns = torch.cat([turn(x, y).flatten() for x, y in block.run()])  # [tokens]
                importance.append(float(turns.mean()))  # LI = 1 - cs
            sizes = [int(unit_costs(block, "blocks")) for block in model.blocks]
            mean = self.group * (1 - self.sparsity)
            kept = kept_of_blocks(importance, sizes, mean, self.group, self.spread)
        if min(kept) == self.grouped:
            return {"kept": kept}
        bits = self.compress(model, calibration, kept)
        return {"kept": kept, "importance": importance, "bits": bits}

    def compress(self, model: LanguageModel, calibration: Tokens, kept: list[int]) -> float:
        """Binarise all blocks, keeping `kept [blocks]` of every group; return bits a weight."""
        stored = weights = 0.0
        for block, keep in zip(walk(model, calibration), kept, strict=True):
            grams = block.observe(Gram)
            for role, linear, factor, _ in factored(block, grams, self.damping):
                linear.weight.copy_(self.solve(linear.weight, grams[role].matrix, factor, keep))
                rows, columns = linear.weight.shape
                stored += rows * columns * bits_of(keep, self.grouped)
                stored += rows * math.ceil(columns / self.block_size) * SCALES
                weights += rows * columns
        return stored / weights

    def solve(self, weight: Tensor, gram: Tensor, factor: Tensor, keep: int) -> Tensor:
        """Return the compressed weight `[out, in]`, fp32, by blocks of columns, left to right.

        `gram [in, in]` is `X^T X`, `factor [in, in]` is `U` with `H^-1 = U^T U`.
        """
        W = weight.float().clone()
        for start in range(0, W.shape[1], self.block_size):
            end = min(start + self.block_size, W.shape[1])
            here, later = slice(start, end), slice(end, None)
            found = self.binarise(W[:, here], gram[here, here], keep)
            if self.compensate:  # the least squares answer of all later columns
                U = factor[here, here]
                E = torch.linalg.solve_triangular(U, W[:, here] - found, upper=True, left=False)
                W[:, later] -= E @ factor[here, later]
            W[:, here] = found
        return W

    def binarise(self, W: Tensor, S: Tensor, keep: int) -> Tensor:
        """Return `P * (alpha B + mu)` of one block of columns, `[out, columns]`.

        `S [columns, columns]` is `X^T X`; the mask `P` keeps `keep` of every group of a row.
        """
        mu = W.mean(dim=1, keepdim=True)  # [out, 1]
        alpha = (W - mu).abs().mean(dim=1, keepdim=True)
        B = signs(W - mu)
        gone = torch.zeros_like(W, dtype=torch.bool)  # where P is 0
        alpha, mu = fit(W, S, B, ~gone, alpha, mu, self.alternations)
        costs = None if self.score == "residual" else self.obs(W, S)
        leaving = self.grouped - keep
        for count in [1] * leaving if self.stepwise else [leaving]:
            now = torch.where(gone, 0, alpha * B + mu)
            left = (increases(W, now, S) if costs is None else costs).masked_fill(gone, math.inf)
            gone = gone | smallest(left.unflatten(1, (-1, self.grouped)), count).flatten(1)
            if self.refresh:
                B = signs(W - mu)
            alpha, mu = fit(W, S, B, ~gone, alpha, mu, self.alternations)
        return torch.where(gone, 0, alpha * B + mu)

    def obs(self, W: Tensor, S: Tensor) -> Tensor:
        """Return the OBS error of removing each dense weight, `w^2 / [H^-1]_jj`, `[out, columns]`.

        Of weights whose inputs are always zero it is 0.
        """
        inverse = damped_inverse(S, self.damping).diagonal().float()  # [columns]
        costs = W.square() / (inverse.square() if self.score == "obs-squared" else inverse)
        return costs.masked_fill(S.diagonal() == 0, 0)


def kept_of_blocks(
    importance: list[float], sizes: list[int], mean: float, group: int, spread: int
) -> list[int]:
    """Return N of each block: more where it matters more, over all weights `mean` of `group`.

    `sizes` are the weights of the blocks. The mean is met within half of the step that N of the
    largest block makes, and so to the weight where blocks are alike and it can be.
    """
    low, high = max(math.floor(mean) - spread, 1), min(math.ceil(mean) + spread, group)
    LI, size = torch.tensor(importance, dtype=torch.float64), torch.tensor(sizes) // group
    share = LI / LI.mean() if LI.sum() > 0 else torch.ones_like(LI)  # I_l
    x = low + share * (mean - low)
    kept = (x + 0.5).floor().clamp(low, high)
    while True:
        missing = float((size * (mean - kept)).sum())
        step = math.copysign(1, missing)
        free = kept.lt(high) if step > 0 else kept.gt(low)
        free &= size < 2 * abs(missing)  # or the mean is missed by more than now
        if not free.any():
            return [int(n) for n in kept]
        nearest = (step * (x - kept)).masked_fill(~free, -math.inf).argmax()
        kept[nearest] += step


def fit(
    W: Tensor, S: Tensor, B: Tensor, P: Tensor, alpha: Tensor, mu: Tensor, times: int
) -> tuple[Tensor, Tensor]:
    """Fit offset and scale of each row in turn to `min (w - w^)^T S (w - w^)`, masked by `P`.

    `W`, signs `B` and `P` are `[out, columns]`, `alpha` and `mu` `[out, 1]`. With `u = p` and
    `v = p . b`, `w^ = alpha v + mu u`: each is the minimiser while the other stays.
    """
    u = P.to(W.dtype)
    v = u * B
    uS, vS = u @ S, v @ S  # [out, columns]
    uu, uv, vv, uw, vw = (
        (one * other).sum(dim=1, keepdim=True)  # [out, 1]
        for one, other in ((uS, u), (uS, v), (vS, v), (uS, W), (vS, W))
    )
    least = STEADY * (u * S.diagonal()).sum(dim=1, keepdim=True)
    for _ in range(times):
        mu = torch.where(uu > least, (uw - alpha * uv) / uu, mu)  # u^T S (w - alpha v) / u^T S u
        alpha = torch.where(vv > least, (vw - mu * uv) / vv, alpha)  # v^T S (w - mu u) / v^T S v
    return alpha, mu


def increases(W: Tensor, now: Tensor, S: Tensor) -> Tensor:
    """Return by how much the error `r^T S r`, `r = w - w^`, grows when a weight of w^ goes.

    `W` and `now`, which is w^, are `[out, columns]`, as is the result: `2 w^_j g_j + w^_j^2 S_jj`
    with `g = S r`.
    """
    g = (W - now) @ S
    return 2 * now * g + now.square() * S.diagonal()


def signs(x: Tensor) -> Tensor:
    """Return the signs of `x`, that of 0 being +1."""
    return torch.where(x < 0, -1.0, 1.0)


def bits_of(keep: int, group: int) -> float:
    """Return the bits a weight that signs and mask take: one for each kept, and which are kept."""
    return (keep + math.log2(math.comb(group, keep))) / group
