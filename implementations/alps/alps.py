"""ALPS: prune layers by ADMM on a least-squares problem with an l0 constraint (Meng et al., 2024).

Every linear layer should keep its outputs with a given number of weights. ADMM alternates between a
dense copy, which fits the outputs, and a sparse copy, its projection. The penalty for their
distance rises, faster while the selected weights still change. Once they are settled, a few steps
of conjugate gradients refit the selected weights.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from implementations.harness import (
    Capabilities,
    Count,
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
    walk,
)

TINY = 1e-8  # added to the scale of every input, so that silent inputs can be scaled


class ALPS(WeightMethod):
    """Select weights by ADMM with a rising penalty, then refit them by conjugate gradients.

    Source: Meng et al., NeurIPS 2024, arXiv:2406.07831, Algorithms 1 and 2.
    """

    capabilities = Capabilities(
        granularity=("unstructured", "semi-structured"), calibration="forward", parallel=True
    )

    sparsity: Ratio = 0.7
    """Share of the weights of each matrix to zero."""
    pattern: Pattern | None = None
    """Keep KEEP of every GROUP consecutive inputs of a row, as in `2:4`; replaces `sparsity`."""
    damping: NonNegative = 0.01
    """Value added to the Hessian's diagonal, as a fraction of its mean (lambda_2)."""
    penalty: Positive = 0.1
    """First penalty for the distance between dense and sparse copy (rho_0)."""
    every: Count = 3
    """Number of iterations between two updates of the penalty."""
    iterations: Count = 300
    """Largest number of ADMM iterations."""
    refit: Whole = 10
    """Number of conjugate gradient steps; 0 leaves the values of the dense copy."""
    schedule: Literal["paper", "paper-code"] = "paper"
    """Rules for start, penalty and stop: those of the paper, or of the official code."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> None:
        for block in walk(model, calibration):
            self.prune_block(block)  # its matrices are freed before the next block's are collected

    def prune_block(self, block: WalkedBlock) -> None:
        """Prune the linear layers of a block in place, from the activations of the dense block."""
        # X^T X once per distinct input, fp64: near ties in the selection amplify rounding
        grams = block.observe(partial(Gram, dtype=torch.float64))
        for gram, linears in block.sharing(grams):
            scales, H, values, vectors = self.scale(gram.matrix)
            for linear in linears.values():
                linear.weight.copy_(self.solve(linear.weight, scales, H, values, vectors))

    def scale(self, gram: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the scales of the inputs `[in]`, H of the scaled inputs, and its eigensystem.

        The eigenvalues are `[in]`, the eigenvectors the columns of `[in, in]`. All of these apply
        to weights that are multiplied by the scales, so the diagonal of H is 1.
        """
        H = gram.double().clone()
        H.diagonal().add_(self.damping * H.diagonal().mean())  # X^T X + lambda_2 I
        scales = H.diagonal().sqrt() + TINY
        H /= scales * scales[:, None]  # E H E, E = Diag(H)^-1/2 (Eq. 27)
        values, vectors = torch.linalg.eigh(H)  # H = Q M Q^T
        return scales.float(), H.float(), values.float(), vectors.float()

    def solve(
        self, weight: Tensor, scales: Tensor, H: Tensor, values: Tensor, vectors: Tensor
    ) -> Tensor:
        """Return the pruned and refitted weight `[out, in]`, fp32, given the result of `scale`."""
        dense = weight.float() * scales
        removed = self.removed(dense)
        if not removed.any():
            return weight.float()  # scaling would round
        G = dense @ H
        W = self.admm(dense, removed, G, values, vectors)
        return self.refitted(W, G, H, self.removed(W)) / scales

    def admm(
        self, dense: Tensor, removed: Tensor, G: Tensor, values: Tensor, vectors: Tensor
    ) -> Tensor:
        """Return the dense copy `[out, in]` after the last iteration (Algorithm 1).

        `removed [out, in]` marks what magnitude removes from the `dense` weight, and `G [out, in]`
        is the product of this weight and H.
        """
        code = self.schedule == "paper-code"
        before = removed if code else torch.zeros_like(removed)
        first_D, first_V = dense.masked_fill(before, 0), torch.zeros_like(dense)
        D, V = first_D, first_V
        kept, rho = int((~removed).sum()), self.penalty
        # The official code first looks for a rho at which the selection moves.
        searching = code
        for t in range(1, self.iterations + 1):
            W = ((G - V + rho * D) @ vectors / (values + rho)) @ vectors.T
            removed = self.removed(W + V / rho)
            D = (W + V / rho).masked_fill(removed, 0)
            V = V + rho * (W - D)
            if t % self.every:
                continue
            changed = int((removed ^ before).sum())  # s_t
            before = removed
            searching &= changed <= 0.005 * kept
            if searching:
                rho /= 5
                if changed:  # too little: the next rho starts over
                    D, V = first_D, first_V
            elif changed:
                rho *= growth(changed, kept)
            else:
                break
            if code and t > 30 and changed < 0.0003 * kept:
                break
        return W

    def refitted(self, W: Tensor, G: Tensor, H: Tensor, removed: Tensor) -> Tensor:
        """Fit the weights that are not removed to `argmin ||X W^ - X W||^2`, `[out, in]`.

        Conjugate gradients on all rows at once, each with its own step sizes (Algorithm 2). The
        preconditioner Diag(H) is 1 after the scaling.
        """
        W = W.masked_fill(removed, 0)
        R = P = (G - W @ H).masked_fill(removed, 0)  # residuals and directions
        squares = R.square().sum(dim=1, keepdim=True)  # [out, 1]
        for _ in range(self.refit):
            PH = P @ H
            step = ratio(squares, (P * PH).sum(dim=1, keepdim=True))
            W = W + step * P
            R = (R - step * PH).masked_fill(removed, 0)
            squares, last = R.square().sum(dim=1, keepdim=True), squares
            P = R + ratio(squares, last) * P
        return W

    def removed(self, weights: Tensor) -> Tensor:
        """Mark all but the largest weights of the matrix, or of each group; boolean `[out, in]`."""
        return self.choose(weights.abs(), within="matrix")


def growth(changed: int, kept: int) -> float:
    """Return the factor of rho if `changed` of the positions entered or left `kept` (Eq. 28)."""
    return 1.3 if changed >= 0.1 * kept else 1.2 if changed >= 0.005 * kept else 1.1


def ratio(a: Tensor, b: Tensor) -> Tensor:
    """Return `a / b`, and 0 where `b` is not positive, as in rows without a residual."""
    return torch.where(b > 0, a / b, 0)
