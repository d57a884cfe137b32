"""WINA: keep the inputs that are largest after weighting by their columns (Chen et al., 2026).

Dropping input j of a linear layer changes its output by x_j times column j of the weight. If the
columns are orthogonal, the squared error of several dropped inputs is the sum of their
(x_j ||W_:j||)^2, so it is best to keep the largest ones. WINA rotates the model into an equivalent
one in which the columns of k and gate are orthogonal.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from implementations.harness import (
    ONE_BASIS,
    ActivationMethod,
    Block,
    Capabilities,
    Count,
    Drop,
    Half,
    Kept,
    LanguageModel,
    Positive,
    Tokens,
    WalkedBlock,
    greedy_shares,
    halves,
    rotate_embedding,
)

WEIGHTED = ("k", "gate")
"""Layers whose columns are orthogonal in the rotated model, of each half of a block."""


class WINA(ActivationMethod):
    """Keep the inputs of each layer with the largest `|x_j| ||W_:j||`, as many for each token.

    Source: Chen et al., ICLR 2026, arXiv:2505.19427, and the authors' code.
    """

    capabilities = Capabilities(
        granularity=("activations",),
        calibration="forward",
        when="input-dependent",
        prompted=True,
        changes=("linears", "norms", "embedding"),
        refuses=ONE_BASIS,
    )
    tiny_settings: ClassVar[dict[str, Any]] = {"step": 1.0, "samples": 1}

    score: Literal["weighted", "size"] = "weighted"
    """Score the inputs of k and gate by `|x_j| ||W_:j||`, or all by `|x_j|` (TEAL-transform)."""
    rotate: bool = True
    """Rotate the model first; adds two square matrices per decoder layer, which all tokens read."""
    allocation: Literal["greedy", "uniform"] = "greedy"
    """Shares of the layers of a decoder layer: found by TEAL's greedy search, or all equal."""
    step: Positive = 0.025
    """Share of a square matrix that a step of the search adds, in weights."""
    samples: Count = 2
    """Calibration samples on which the search compares outputs."""

    def added_weights(self, model: LanguageModel) -> int:
        """Return the number of weights of the matrices on the skip connections."""
        rotates = self.rotate and self.sparsity > 0
        return 2 * len(model.blocks) * model.config.hidden_size**2 if rotates else 0

    @property
    def excluded(self) -> dict[str, str]:
        """Options of a run that it does not support, with reasons."""
        reason = "its masks act only while the model runs, and the rotated model is not saved alone"
        return super().excluded | {"save": reason}

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Rotate the model, then choose how many inputs each layer keeps."""
        if self.added_weights(model):
            rotate(model)
        return super().prune(model, calibration)

    def calibrate(self, block: WalkedBlock, share: float) -> dict[str, Drop]:
        """Return the number of inputs that each layer keeps."""
        inputs: list[Tensor] = []
        for x, _ in block.run():  # dense
            if self.allocation == "greedy" and len(inputs) < self.samples:
                inputs.append(x.clone())

        def drop(role: str, dropped: float) -> Drop:
            width = linears[role].in_features
            left = int(width * (1 - dropped) + 1e-6)  # K
            return Drop(left, 1 - left / max(width, 1))

        linears = block.linears()
        shares = dict.fromkeys(linears, share)
        if inputs:
            shares = greedy_shares(
                block,
                inputs,
                share,
                self.step,
                lambda role, dropped: self.kept(block, role, drop(role, dropped)),
            )
        return {role: drop(role, dropped) for role, dropped in shares.items()}

    def kept(self, block: Block, role: str, drop: Drop) -> Kept:
        """Mark the inputs of each token with the highest scores."""
        columns: Tensor | float = 1.0
        if self.score == "weighted" and role in WEIGHTED:
            columns = block.linears()[role].weight.float().norm(dim=0)  # c, [in]
        return lambda x: largest(x.float().abs() * columns, int(drop.limit))


def largest(scores: Tensor, count: int) -> Tensor:
    """Mark the `count` largest scores of each token, boolean `[..., in]`."""
    places = scores.topk(count, dim=-1).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter(-1, places, value=True)


def rotate(model: LanguageModel) -> None:
    """Rotate the residual stream so that the columns of k and gate become orthogonal, in place.

    Each half of a block reads the stream in the basis of its own right singular vectors. The last
    block writes in the original basis, which the final norm and the head read.
    """
    parts = [
        (half, block.linears()[role])
        for block in model.blocks
        for half, role in zip(halves(block), WEIGHTED, strict=True)
    ]
    basis = singular_vectors(*parts[0])
    rotate_embedding(model, basis)
    for (half, _), following in pairwise(parts):
        half.read(basis)
        read, basis = basis, singular_vectors(*following)
        half.write(basis, read)
    last, _ = parts[-1]
    last.read(basis)


def singular_vectors(half: Half, linear: nn.Linear) -> Tensor:
    """Return the right singular vectors of a layer with the gain of its norm, `[in, in]`."""
    weight = linear.weight.double() * cast(Tensor, half.norm.weight)
    wide = len(weight) < weight.shape[1]  # otherwise, all of V is in the reduced decomposition
    vectors: Tensor = torch.linalg.svd(weight, full_matrices=wide).Vh.T  # W V = U S
    return vectors
