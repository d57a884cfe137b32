"""PBS2P: binarised rows with an N:M mask, pruned step by step (Yan et al., arXiv 2025).

Each row of 128 columns is `alpha * sign + mu`. Binarising and then pruning does damage twice.
Weights are therefore pruned in steps, and after each step scale and offset are refitted to the
layer's output in closed form. Blocks that turn the hidden state more keep more weights.
"""

from __future__ import annotations

import math
from typing import Any, Literal

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
    Whole,
    block_weights,
    cosine_distance,
    damped_inverse,
    factored_layers,
    smallest,
    walk,
)

SCALES = 2 * 16  # bits of alpha and mu, per row and block of columns
STEADY = 1e-6  # below this part of its diagonal a quadratic form is rounding error


class PBS2P(WeightMethod):
    """Binarise every linear layer and prune it N:M in steps, refitting scale and offset each time.

    Source: Yan et al., arXiv:2502.01705, as far as it is known; see the README.
    """

    capabilities = Capabilities(
        granularity=("semi-structured",), calibration="forward", quantises=True, parallel=True
    )

    sparsity: Ratio = 0.5
    """Mean share of the weights to set to zero; each decoder layer has an N of its own."""
    pattern: Pattern | None = None
    """Keep KEEP of every GROUP inputs of a row in every decoder layer; replaces `sparsity`."""
    group: Count = 8
    """Without a pattern: group of consecutive inputs of a row, of which N are kept (M)."""
    spread: Whole = 1
    """How far N may lie below the mean N rounded down, or above it rounded up."""
    block_size: Count = 128
    """Number of columns that share the scale and offset of a row."""
    alternations: Whole = 2
    """Number of fits of offset and scale after every step (tau); 0 leaves both unchanged."""
    score: Literal["residual", "obs", "obs-squared"] = "residual"
    """Score of a weight: increase of the current error, or OBS error of the dense weight."""
    stepwise: bool = True
    """Whether to prune one weight of every group at a time instead of all at once."""
    refresh: bool = False
    """Whether to choose new signs for the remaining weights after every step."""
    compensate: bool = True
    """Whether later columns compensate for the error of earlier ones."""
    damping: NonNegative = 0.01
    """Damping added to the diagonal of a matrix before inversion, as a fraction of its mean."""

    @property
    def grouped(self) -> int:
        return self.pattern.group if self.pattern else self.group

    def largest_unit(self, model: LanguageModel) -> int:
        """Return how many weights the largest block loses when its N decreases by one."""
        return max(map(block_weights, model.blocks)) // self.grouped

    def max_sparsity(self, model: LanguageModel) -> float:
        """Return the sparsity at which every group keeps one weight."""
        return 1 - 1 / self.grouped

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        super().check(model, calibration)
        self.check_block_size(self.block_size)

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Choose N of every block, then compress; return N and importance of blocks, and bits.

        If the budget removes nothing, the model is not changed.
        """
        if self.target == 0:
            return {}
        importance: list[float] = []
        kept = [self.pattern.keep if self.pattern else 0] * len(model.blocks)
        if not self.pattern:
            for block in walk(model, calibration, edits=False):
                importance.append(block.token_mean(cosine_distance))  # LI = 1 - cs
            sizes = [block_weights(block) for block in model.blocks]
            mean = self.group * (1 - self.sparsity)
            kept = kept_of_blocks(importance, sizes, mean, self.group, self.spread)
        if min(kept) == self.grouped:
            return {"kept": kept}
        bits = self.compress(model, calibration, kept)
        return {"kept": kept, "importance": importance, "bits": bits}

    def compress(self, model: LanguageModel, calibration: Tokens, kept: list[int]) -> float:
        """Binarise all blocks, keeping `kept [blocks]` of every group; return bits per weight."""
        for walked in walk(model, calibration):
            # Its matrices are freed before those of the next block are collected.
            self.compress_block(walked, kept[walked.index])
        stored = weights = 0.0
        for block, keep in zip(model.blocks, kept, strict=True):
            for linear in block.linears().values():
                rows, columns = linear.weight.shape
                stored += rows * columns * bits_of(keep, self.grouped)
                stored += rows * math.ceil(columns / self.block_size) * SCALES
                weights += rows * columns
        return stored / weights

    def compress_block(self, block: WalkedBlock, keep: int) -> None:
        """Binarise the linear layers of a block in place, keeping `keep` of every group."""
        grams = block.observe(Gram)
        for role, linear, factor, _ in factored_layers(block, grams, self.damping):
            linear.weight.copy_(self.solve(linear.weight, grams[role].matrix, factor, keep))

    def solve(self, weight: Tensor, gram: Tensor, factor: Tensor, keep: int) -> Tensor:
        """Return the compressed weight, fp32 `[out, in]`, by blocks of columns from left to right.

        `gram [in, in]` is `X^T X`, `factor [in, in]` is `U` with `H^-1 = U^T U`.
        """
        W = weight.float().clone()
        for start in range(0, W.shape[1], self.block_size):
            end = min(start + self.block_size, W.shape[1])
            here, later = slice(start, end), slice(end, None)
            binarised = self.binarise(W[:, here], gram[here, here], keep)
            if self.compensate:  # the least-squares solution for all later columns
                U = factor[here, here]
                E = torch.linalg.solve_triangular(U, W[:, here] - binarised, upper=True, left=False)
                W[:, later] -= E @ factor[here, later]
            W[:, here] = binarised
        return W

    def binarise(self, W: Tensor, S: Tensor, keep: int) -> Tensor:
        """Return `P * (alpha B + mu)` of one block of columns, `[out, columns]`.

        `S [columns, columns]` is `X^T X`; the mask `P` keeps `keep` of every group of a row.
        """
        mu = W.mean(dim=1, keepdim=True)  # [out, 1]
        alpha = (W - mu).abs().mean(dim=1, keepdim=True)
        B = signs(W - mu)
        removed = torch.zeros_like(W, dtype=torch.bool)  # where P is 0
        alpha, mu = fit(W, S, B, ~removed, alpha, mu, self.alternations)
        if self.score != "residual":
            costs = self.obs(W, S)
        leaving = self.grouped - keep
        for count in [1] * leaving if self.stepwise else [leaving]:
            now = torch.where(removed, 0, alpha * B + mu)
            if self.score == "residual":
                costs = increases(W, now, S)
            left = costs.masked_fill(removed, math.inf)
            removed = removed | smallest(left.unflatten(1, (-1, self.grouped)), count).flatten(1)
            if self.refresh:
                B = signs(W - mu)
            alpha, mu = fit(W, S, B, ~removed, alpha, mu, self.alternations)
        return torch.where(removed, 0, alpha * B + mu)

    def obs(self, W: Tensor, S: Tensor) -> Tensor:
        """Return the OBS error of removing each dense weight, `w^2 / [H^-1]_jj`, `[out, columns]`.

        It is 0 for weights whose inputs are always zero.
        """
        inverse = damped_inverse(S, self.damping).diagonal().float()  # [columns]
        costs = W.square() / (inverse.square() if self.score == "obs-squared" else inverse)
        return costs.masked_fill(S.diagonal() == 0, 0)


def kept_of_blocks(
    importance: list[float], sizes: list[int], mean: float, group: int, spread: int
) -> list[int]:
    """Return N of each block, larger for important blocks; over all weights it averages `mean`.

    `sizes` are the numbers of weights of the blocks. The mean is met within half a step of N of the
    largest block. It is therefore exact if the blocks are equal and it can be met at all.
    """
    mean = round(mean, 9)  # 10 * (1 - 0.7) is 3.0000000000000004
    low, high = max(math.floor(mean) - spread, 1), min(math.ceil(mean) + spread, group)
    LI, size = torch.tensor(importance, dtype=torch.float64), torch.tensor(sizes) // group
    share = LI / LI.mean() if LI.sum() > 0 else torch.ones_like(LI)  # I_l
    x = low + share * (mean - low)
    kept = (x + 0.5).floor().clamp(low, high)
    while True:
        missing = float((size * (mean - kept)).sum())
        step = math.copysign(1, missing)
        free = kept.lt(high) if step > 0 else kept.gt(low)
        free &= size < 2 * abs(missing)  # a larger one would miss the mean by more
        if not free.any():
            return [int(n) for n in kept]
        nearest = (step * (x - kept)).masked_fill(~free, -math.inf).argmax()
        kept[nearest] += step


def fit(
    W: Tensor, S: Tensor, B: Tensor, P: Tensor, alpha: Tensor, mu: Tensor, times: int
) -> tuple[Tensor, Tensor]:
    """Fit offset and scale of each row alternately to `min (w - w^)^T S (w - w^)`, masked by `P`.

    `W`, signs `B` and `P` are `[out, columns]`; `alpha` and `mu` are `[out, 1]`. With `u = p` and
    `v = p . b`, `w^ = alpha v + mu u`. Each is the minimiser while the other is fixed.
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
    """Return the increase of `r^T S r`, `r = w - w^`, when a weight of w^ is set to zero.

    `W`, `now` (which is w^) and the result are `[out, columns]`. The result is
    `2 w^_j g_j + w^_j^2 S_jj` with `g = S r`.
    """
    g = (W - now) @ S
    return 2 * now * g + now.square() * S.diagonal()


def signs(x: Tensor) -> Tensor:
    """Return the signs of `x`; the sign of 0 is +1."""
    return torch.where(x < 0, -1.0, 1.0)


def bits_of(keep: int, group: int) -> float:
    """Return the bits per weight for the sign of each kept weight and for the mask."""
    return (keep + math.log2(math.comb(group, keep))) / group
