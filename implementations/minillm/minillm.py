"""MINI-LLM: weight times activation times gradient, without back-propagation (Cheng et al., 2024).

The gradient is estimated from losses alone: all weights are moved a little along a random direction
and back along it, and how the loss differs says how steep it is that way. Many such directions,
each weighed by its slope, point roughly along the gradient. Memory stays that of a forward pass.
"""

from __future__ import annotations

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
    NonNegative,
    NumericsError,
    Ratio,
    Tokens,
    UnitMethod,
    WalkedBlock,
    backwalk,
    cuts,
    keep_units,
    perplexity,
    smallest,
    track,
    walk,
    widths_left,
)
from implementations.minillm.perturbation import direction, perturbed


class MiniLLM(UnitMethod):
    """Remove KV groups and channels by the sum of weight times gradient times activation.

    Source: Cheng et al., arXiv:2407.11681, Algorithm 1; its formulas (7) and (9) were not seen.
    """

    capabilities = Capabilities(granularity=("kv-groups", "channels"), calibration="forward")
    small: ClassVar[dict[str, Any]] = {"directions": 3}
    least = 1

    sparsity: Ratio = 0.2
    """Share of the decoder blocks' linear weights to remove."""
    gradient: Literal["estimated", "exact", "none"] = "estimated"
    """By forward passes; or by back-propagation, or left out of the score, to compare with."""
    directions: Count = 32
    """Random directions, each with the loss of one calibration sample."""
    epsilon: NonNegative = 1e-3
    """How far the weights are moved along a direction."""
    activation: Literal["l2", "abs-mean", "signed-mean"] = "l2"
    """What counts of a layer's inputs: norm, mean absolute value, or size of the mean."""
    aggregate: Literal["sum", "max"] = "sum"
    """Over the matrices of a unit: the sum of its weights' scores, or the largest of the sums."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Refuse also an epsilon of zero and samples without a loss."""
        super().check(model, calibration)
        if self.epsilon == 0:
            raise BadInput("epsilon is 0, which moves nothing; give a small number such as 0.001")
        if calibration is not None and calibration.ids.shape[1] < 2:
            raise BadInput("minillm needs samples of at least 2 tokens, one to see, one to predict")

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Estimate, score on the dense model, then cut every block alike; return what is left."""
        slopes = self.slopes(model, calibration) if self.gradient == "estimated" else []
        inputs = []
        for dense in walk(model, calibration, edits=False):
            inputs.append(self.observe(dense))
        scores: list[list[Tensor]] = [[] for _ in inputs]
        if self.gradient == "exact":
            for back in backwalk(model, calibration, gradients=inputs[0]):
                scores[back.index] = self.score(back, inputs[back.index], back.gradients)
        else:
            for block in model.visit():
                estimate = {role: estimated(block, role, slopes) for role in inputs[0] if slopes}
                scores[block.index] = self.score(block, inputs[block.index], estimate)
        groups = [heads for heads, _ in scores]
        lost = self.widths(model, torch.ones(len(scores)), {"kv-groups": groups})
        for block, both, counts in zip(model.visit(), scores, lost, strict=True):
            for kind, units, count in zip(self.kinds, both, counts, strict=True):
                keep_units(block, kind, ~smallest(units, count))
        return widths_left(model) | {"slopes": [slope for _, slope in slopes]}

    def slopes(self, model: LanguageModel, calibration: Tokens) -> list[tuple[int, float]]:
        """Return the seed of every direction and how the loss rises along it, formula (7)."""
        samples = list(calibration.chunks(1))
        seeds = torch.randint(2**31, (self.directions,)).tolist()
        slopes = []
        for number, seed in enumerate(track(seeds, "moving the weights")):
            sample, losses = samples[number % len(samples)], []
            for scale in (self.epsilon, -self.epsilon):
                with perturbed(model, seed, scale):
                    found = perplexity(model, sample)
                losses.append(found.nats / found.predictions)
            slopes.append((seed, (losses[0] - losses[1]) / (2 * self.epsilon)))
        if not any(slope for _, slope in slopes):
            raise NumericsError(
                f"no direction changes the loss: epsilon {self.epsilon:g} is lost in the rounding "
                f"of {model.dtype}; make it larger, or load the model in float32"
            )
        return slopes

    def observe(self, block: WalkedBlock) -> dict[str, Tensor]:
        """Return what counts of the inputs of each layer, `[in]`, by role."""
        if self.activation == "l2":
            return {role: seen.norms for role, seen in block.observe(ColumnNorm).items()}
        if self.activation == "abs-mean":
            return {role: seen.sums / seen.count for role, seen in block.observe(ColumnSum).items()}
        return {role: seen.mean.abs() for role, seen in block.observe(Moments).items()}

    def score(
        self, block: Block, inputs: dict[str, Tensor], gradients: dict[str, Tensor]
    ) -> list[Tensor]:
        """Score the units of each kind, `[units]`, from the weights' own scores."""
        of_weights = {
            linear: weight_scores(linear.weight, inputs[role], gradients.get(role))
            for role, linear in block.linears().items()
        }
        scores = []
        for kind in self.kinds:
            sums = torch.stack(
                [part.owned(of_weights[part.linear]).sum(dim=(1, 2)) for part in cuts(block, kind)]
            )  # [matrices, units]
            scores.append(sums.sum(dim=0) if self.aggregate == "sum" else sums.amax(dim=0))
        return scores


def weight_scores(weight: Tensor, inputs: Tensor, gradient: Tensor | None) -> Tensor:
    """Return `|W| |g| x` of each weight, fp64 `[out, in]`, our reading of formula (9).

    `inputs [in]` is what counts of a layer's inputs; without a gradient it is Wanda's score.
    """
    scores = weight.double().abs() * inputs.to(weight.device)
    return scores if gradient is None else scores * gradient.abs()


def estimated(block: Block, role: str, slopes: list[tuple[int, float]]) -> Tensor:
    """Return the mean of the directions, each times its slope: the gradient, fp32 `[out, in]`."""
    total = torch.zeros_like(block.linears()[role].weight, dtype=torch.float32)
    for seed, slope in slopes:
        total.add_(direction(block, role, seed), alpha=slope / len(slopes))
    return total
