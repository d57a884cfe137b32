"""MINI-LLM: weight times activation times gradient, without back-propagation (Cheng et al., 2024).

The gradient is estimated from losses alone. All weights are shifted slightly along a random
direction, forwards and backwards, and the difference of the two losses gives the slope along it.
The mean of many directions, each weighted by its slope, points roughly along the gradient. Memory
stays that of a forward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from implementations.harness import (
    BadInput,
    Block,
    Capabilities,
    ColumnNorm,
    ColumnSum,
    Count,
    LanguageModel,
    Moments,
    NumericsError,
    Positive,
    Ratio,
    Tokens,
    UnitMethod,
    WalkedBlock,
    backwalk,
    check_predictions,
    cuts,
    perplexity,
    track,
    walk,
)
from implementations.minillm.perturbation import DISTINCT, direction, draw_seeds, perturbed


class MiniLLM(UnitMethod):
    """Remove KV groups and MLP channels by weight times estimated gradient times activation.

    Source: Cheng et al., arXiv:2407.11681, Algorithm 1; its formulas (7) and (9) were not seen.
    """

    capabilities = Capabilities(granularity=("kv-groups", "channels"), calibration="forward")
    tiny_settings: ClassVar[dict[str, Any]] = {"directions": 3}
    least = 1

    sparsity: Ratio = 0.2
    """Share of the weights of the decoder's linear layers to remove."""
    gradient: Literal["estimated", "exact", "none"] = "estimated"
    """Estimate from forward passes; for comparison: exact back-propagation, or no gradient."""
    directions: Count = 32
    """Number of random directions (n), each evaluated on one calibration sample."""
    epsilon: Positive = 1e-3
    """Step size along a direction (epsilon)."""
    activation: Literal["l2", "abs-mean", "signed-mean"] = "l2"
    """Statistic of a layer's inputs: L2 norm, mean absolute value, or absolute mean."""
    aggregate: Literal["sum", "max"] = "sum"
    """Unit score from the summed scores of its matrices: their sum, or the largest of them."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Also reject too many directions, and samples too short to have a loss."""
        super().check(model, calibration)
        if self.directions > DISTINCT:
            raise BadInput(f"`directions` must be at most {DISTINCT:,}, got {self.directions:,}")
        check_predictions(calibration, self.slug())

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Score the dense model, remove the same share of every block and return the widths."""
        slopes = self.slopes(model, calibration) if self.gradient == "estimated" else []
        inputs = []
        for dense in walk(model, calibration, edits=False):
            inputs.append(self.observe(dense))
        scores: list[list[Tensor]] = [[] for _ in inputs]
        if self.gradient == "exact":
            for back in backwalk(model, calibration, gradients=inputs[0], edits=False):
                scores[back.index] = self.score(back, inputs[back.index], back.gradients.get)
        else:
            for block in model.visit():
                gradient = partial(estimated, block, slopes) if slopes else no_gradient
                scores[block.index] = self.score(block, inputs[block.index], gradient)
        details = {"slopes": [slope for _, slope in slopes]}
        return self.remove_lowest(model, scores) | details

    def slopes(self, model: LanguageModel, calibration: Tokens) -> list[tuple[int, float]]:
        """Return the seed of every direction and the slope of the loss along it, formula (7)."""
        samples = list(calibration.chunks(1))
        slopes = []
        for number, seed in enumerate(track(draw_seeds(self.directions), "moving the weights")):
            sample, losses = samples[number % len(samples)], []
            for scale in (self.epsilon, -self.epsilon):
                with perturbed(model, seed, scale):
                    losses.append(perplexity(model, sample).loss)
            slopes.append((seed, (losses[0] - losses[1]) / (2 * self.epsilon)))
        if not any(slope for _, slope in slopes):
            raise NumericsError(
                f"no direction changes the loss: `epsilon` {self.epsilon:g} is lost in the "
                f"rounding of {model.dtype}; use a larger one, or load the model in float32"
            )
        return slopes

    def observe(self, block: WalkedBlock) -> dict[str, Tensor]:
        """Return the statistic of the inputs of each layer, `[in]`, by role."""
        if self.activation == "l2":
            return {role: seen.norms for role, seen in block.observe(ColumnNorm).items()}
        if self.activation == "abs-mean":
            return {role: seen.sums / seen.count for role, seen in block.observe(ColumnSum).items()}
        return {role: seen.mean.abs() for role, seen in block.observe(Moments).items()}

    def score(
        self,
        block: Block,
        inputs: dict[str, Tensor],
        gradient: Callable[[str], Tensor | None],
    ) -> list[Tensor]:
        """Return the scores of the units of each kind, `[units]`, summed over their weights.

        `gradient` returns that of the layer of a role, or None to score without gradients.
        """
        parts = [list(cuts(block, kind)) for kind in self.kinds]
        sums: list[list[Tensor]] = [[] for _ in parts]  # [kinds][matrices] of [units]
        for role, linear in block.linears().items():  # one at a time, to save memory
            of_weights = weight_scores(linear.weight, inputs[role], gradient(role))
            for of_kind, cuts_of_kind in zip(sums, parts, strict=True):
                owned = [cut.owned(of_weights) for cut in cuts_of_kind if cut.linear is linear]
                of_kind.extend(each.sum(dim=(1, 2)) for each in owned)
        stacked = [torch.stack(of_kind) for of_kind in sums]
        return [x.sum(dim=0) if self.aggregate == "sum" else x.amax(dim=0) for x in stacked]


def weight_scores(weight: Tensor, inputs: Tensor, gradient: Tensor | None) -> Tensor:
    """Return `|W| |g| x` of each weight, fp64 `[out, in]`, our reading of formula (9).

    `inputs [in]` is the statistic of the layer's inputs. Without a gradient this is Wanda's score.
    """
    scores = weight.double().abs() * inputs.to(weight.device)
    return scores if gradient is None else scores * gradient.abs()


def no_gradient(_: str) -> None:
    """Score without gradients."""


def estimated(block: Block, slopes: list[tuple[int, float]], role: str) -> Tensor:
    """Return the gradient estimate, the mean of slope times direction, fp32 `[out, in]`."""
    total = torch.zeros_like(block.linears()[role].weight, dtype=torch.float32)
    for seed, slope in slopes:
        total.add_(direction(block, role, seed), alpha=slope / len(slopes))
    return total
