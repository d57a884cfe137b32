"""Wanda++: score by gradients of the block's own output, and train the block (Yang et al., 2025).

Wanda judges a weight by its size and its input. Wanda++ adds how much the output of the whole block
depends on the weight. It then alternates between pruning and a few steps that train the block's
weights towards the outputs of the original block on the same inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from implementations.harness import (
    Capabilities,
    ColumnNorm,
    Count,
    LanguageModel,
    NonNegative,
    Pattern,
    Ratio,
    Tokens,
    WalkedBlock,
    WeightMethod,
    Whole,
    block_outputs,
    gradient_step,
    output_error,
    run_with_weights,
    walk,
)

LEAST = 1e-30  # smallest norm by which the gradient term is divided

ByRole = Mapping[str, Tensor]


class WandaPP(WeightMethod):
    """Zero the weights with the smallest `(alpha G_ij + ||X_j||) |W_ij|`, between training steps.

    Source: Yang et al., arXiv:2503.04992, known from digests and from the reproduction it names.
    """

    capabilities = Capabilities(
        granularity=("unstructured", "semi-structured"), calibration="gradient"
    )
    tiny_settings: ClassVar[dict[str, Any]] = {"rounds": 2}

    sparsity: Ratio = 0.5
    """Share of the weights of each output row to zero."""
    pattern: Pattern | None = None
    """Keep KEEP of every GROUP consecutive inputs of a row, as in `2:4`; replaces `sparsity`."""
    alpha: NonNegative = 100.0
    """Weight of the regional gradients in the score."""
    rounds: Whole = 5
    """Rounds of pruning and training (K); with 0, only the score differs from Wanda's."""
    windows: Count = 32
    """Calibration samples drawn for each round, with one training step per sample (M)."""
    rate: NonNegative = 3e-7
    """Learning rate of RMSprop."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Prune and train block by block; return errors of the outputs and the score's balance.

        `error_before` is the error of pruning without training, `balance` the median of
        `alpha G_ij / ||X_j||` of each layer.
        """
        details: dict[str, list[Any]] = {"error_before": [], "error_after": [], "balance": []}
        samples = replace(calibration, batch_size=1)  # one per gradient and per step
        everything = range(len(calibration.ids))
        for block in walk(model, samples):
            layers = block.linears()
            # Outputs of the original block, on the inputs from the pruned model.
            targets = block_outputs(block)
            weights = {  # fp32, because steps of 1e-6 vanish in bf16
                role: layer.weight.to(torch.float32, copy=True).requires_grad_()
                for role, layer in layers.items()
            }
            G = regional_gradients(block, weights, everything)
            norms = window_norms(block, weights, everything)
            details["balance"].append({r: balance(self.alpha * G[r], norms[r]) for r in layers})
            first = self.masked(weights, G, norms)
            details["error_before"].append(output_error(block, targets, first))
            if self.rounds:
                self.train(block, weights, G, targets)
                norms = window_norms(block, weights, everything)
            for role, pruned in self.masked(weights, G, norms).items():
                layers[role].weight.copy_(pruned)
            details["error_after"].append(output_error(block, targets, {}))
        return details

    def train(
        self, block: WalkedBlock, weights: ByRole, G: ByRole, targets: Sequence[Tensor]
    ) -> None:
        """Alternate between pruning the `weights [out, in]` in place and training all of them."""
        optimiser = torch.optim.RMSprop(weights.values(), lr=self.rate)
        for _ in range(self.rounds):
            drawn = torch.randperm(len(targets))[: self.windows].tolist()
            norms = window_norms(block, weights, drawn)
            for role, pruned in self.masked(weights, G, norms).items():
                weights[role].copy_(pruned)
            for i in drawn:
                with torch.enable_grad():
                    y = run_with_weights(block, i, weights).float()
                    error = (y - targets[i].to(y.device)).square().sum()
                    gradient_step(optimiser, error, f"block {block.index}")

    def masked(self, weights: ByRole, G: ByRole, norms: ByRole) -> dict[str, Tensor]:
        """Return the weights `[out, in]` by role, with those of the lowest scores zeroed."""
        result = {}
        for role, weight in weights.items():
            removed = self.choose(scores(weight, G[role], norms[role], self.alpha))
            result[role] = weight.masked_fill(removed, 0)
        return result


def scores(weight: Tensor, gradients: Tensor, norms: Tensor, alpha: float) -> Tensor:
    """Return `(alpha G_ij + ||X_j||) |W_ij|`, `[out, in]`, given `norms [in]` of the inputs."""
    return (alpha * gradients + norms) * weight.abs()


def regional_gradients(
    block: WalkedBlock, weights: ByRole, windows: Sequence[int]
) -> dict[str, Tensor]:
    """Return the root mean square over windows of the gradients of each window's output norm.

    They are `[out, in]` by role (G). The output includes the residual stream.
    """
    squares = {role: torch.zeros_like(weight) for role, weight in weights.items()}
    for i in windows:
        with torch.enable_grad():
            norm = torch.linalg.vector_norm(run_with_weights(block, i, weights).float())  # L_n
        gradients = torch.autograd.grad(norm, list(weights.values()), materialize_grads=True)
        for role, gradient in zip(squares, gradients, strict=True):
            squares[role] += gradient.square()
    return {role: (square / len(windows)).sqrt() for role, square in squares.items()}


def window_norms(block: WalkedBlock, weights: ByRole, windows: Sequence[int]) -> dict[str, Tensor]:
    """Return the norms of each layer's inputs, by role: `[in]`, root mean square over windows."""
    with block.watching(ColumnNorm) as seen, torch.no_grad():
        for i in windows:
            run_with_weights(block, i, weights)
    return {role: each.norms / len(windows) ** 0.5 for role, each in seen.items()}


def balance(gradients: Tensor, norms: Tensor) -> float:
    """Return the median of `gradients [out, in] / norms [in]`, 0 for a layer without weights."""
    ratios = gradients / norms.clamp(min=LEAST)
    return float(ratios.median()) if ratios.numel() else 0.0
