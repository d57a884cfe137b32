"""ADMM pruning: choose masks and update weights by ADMM, layer by layer (Boža, TMLR 2024).

Under a given mask, the best weights keep the layer's outputs, `argmin ||X W^ - X (M * W)||^2`. The
alternating direction method of multipliers computes them for all rows with a single inverse,
because the mask only enters a projection. The first iterations choose the mask again each time, by
the size of the scaled weights plus their dual variables.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from implementations.harness import (
    BadInput,
    Capabilities,
    Gram,
    LanguageModel,
    NonNegative,
    Pattern,
    Positive,
    Ratio,
    Tokens,
    WalkedBlock,
    WeightMethod,
    Whole,
    damped_factor,
    share_of,
    smallest,
    walk,
)

TINY = 1e-8  # added to the norm of every input, so that silent inputs can be scaled


class ADMMPruning(WeightMethod):
    """Prune each linear layer by ADMM, with a mask that is chosen again in the first iterations.

    Source: Boža, arXiv:2401.02938.
    """

    capabilities = Capabilities(
        granularity=("unstructured", "semi-structured"), calibration="forward", parallel=True
    )

    sparsity: Ratio = 0.5
    """Share of the weights of each matrix to zero (s)."""
    pattern: Pattern | None = None
    """Keep KEEP of every GROUP consecutive inputs of a row, as in `2:4`; replaces `sparsity`."""
    iterations: Whole = 20
    """Number of ADMM iterations; 0 only masks the weights."""
    choosing: Whole = 15
    """Number of first iterations that choose the mask again; 0 keeps the mask of dense weights."""
    gradual: bool = True
    """Raise the share of masked weights over these iterations, instead of masking all at once."""
    damping: NonNegative = 0.1
    """Value added to the diagonal of the scaled inputs' Hessian, as a fraction of its mean."""
    penalty: Positive = 1.0
    """Penalty for the distance between the weights and their masked copy (rho)."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        super().check(model, calibration)
        if self.choosing > self.iterations:
            raise BadInput(
                f"`choosing` must be at most `iterations`, {self.iterations}, got {self.choosing}"
            )

    def prune(self, model: LanguageModel, calibration: Tokens) -> None:
        for block in walk(model, calibration):
            self.prune_block(block)  # its matrices are freed before the next block's are collected

    def prune_block(self, block: WalkedBlock) -> None:
        """Prune the linear layers of a block in place, from the activations of the dense block."""
        grams = block.observe(Gram)  # X^T X, once per distinct input
        for gram, linears in block.sharing(grams):
            where = f"block {block.index}, {', '.join(linears)}"
            norms, hessian, inverse = self.scale(gram.matrix, where)
            for linear in linears.values():
                linear.weight.copy_(self.solve(linear.weight, norms, hessian, inverse))

    def scale(self, gram: Tensor, where: str = "layer") -> tuple[Tensor, Tensor, Tensor]:
        """Return the norms of the inputs `[in]`, H of inputs of norm 1, and `(H + rho I)^-1`.

        Both matrices are `[in, in]` and apply to weights that are multiplied by the norms. Warns
        and raises as `damped_factor` does.
        """
        norms = gram.diagonal().sqrt() + TINY  # n_j = ||X_:,j||
        H = gram / norms / norms[:, None]  # D^-1 X^T X D^-1, D = diag(n)
        shift = self.penalty * torch.eye(len(H), device=H.device)
        H, lower = damped_factor(H, self.damping, where, lambda damped: damped + shift)
        return norms, H, torch.cholesky_inverse(lower)

    def solve(self, weight: Tensor, norms: Tensor, hessian: Tensor, inverse: Tensor) -> Tensor:
        """Return the pruned and updated weight `[out, in]`, fp32, given the result of `scale`."""
        W, H, rho = weight.float() * norms, hessian, self.penalty  # |W| is Wanda's score
        removed = self.mask(W.abs())
        if not removed.any():
            return weight.float()  # scaling would round
        G, U = W @ H, torch.zeros_like(W)  # H is damped: G pulls towards the dense weights
        for t in range(self.iterations):
            if t < self.choosing:
                removed = self.mask((W + U).abs(), self.share(t))
            Z = (W + U).masked_fill(removed, 0)
            U += W - Z
            W = (G + rho * (Z - U)) @ inverse
        return (W + U).masked_fill(removed, 0) / norms

    def share(self, t: int) -> float:
        """Return the share of the weights to remove in iteration `t`, cubic in `t`."""
        s = self.target
        return s - s * (1 - (t + 1) / self.choosing) ** 3 if self.gradual else s

    def mask(self, scores: Tensor, share: float = 1.0) -> Tensor:
        """Mark the weights to remove, `[out, in]`, by scores compared over the whole matrix.

        If the requested sparsity exceeds `share`, only the lowest scores of those that it removes
        are marked, so the largest KEEP of every group of a pattern stay.
        """
        count = share_of(share, scores.numel())
        # A pattern selects in every group and ignores `without_pattern`. Without one, a single
        # selection at the smaller of the two sparsities is enough.
        without_pattern = share_of(min(share, self.sparsity), scores.numel())
        removed = self.choose(scores, within="matrix", count=without_pattern)
        if count >= removed.sum():
            return removed
        candidates = scores.masked_fill(~removed, math.inf)
        return smallest(candidates.flatten(), count).view_as(scores)
