"""SAAP: two Taylor scores weighed by their noise, ranked over the model (Zheng et al., 2024).

LLM-Pruner's frame with another estimate. A head or channel has two importances from the same
gradients: of its rows and columns each as a whole, and element by element. Both are taken for
measurements with a noise that all units of a module share; the noise levels that fit best decide
how the two mix. An indicator of how a unit stands out in its module then makes units of all
modules and layers comparable, and the lowest of the whole model go.
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
    Kind,
    LanguageModel,
    Ratio,
    Tokens,
    UnitMethod,
    backwalk,
    remove_units,
    saliences,
    standardise,
    unit_costs,
    vector_scores,
)

PARTS = 4  # of the calibration at least, which importance may fluctuate over
EPSILON = 1e-6  # beside importances with mean 1

Views = tuple[Tensor, Tensor]  # of the units of a module: as vectors, by element; [units] each


class SAAP(UnitMethod):
    """Remove KV groups and channels by a global ranking of two Taylor importances, fused.

    Source: Zheng et al., arXiv:2412.15127, rebuilt from summaries.
    """

    capabilities = Capabilities(granularity=("kv-groups", "channels"), calibration="gradient")

    sparsity: Ratio = 0.2
    """Share of the decoder blocks' linear weights to remove."""
    fusion: Literal["uncertainty", "vector", "element"] = "uncertainty"
    """Both importances by their noise levels, or one of them alone."""
    fluctuation: Literal["zscore", "batch"] = "zscore"
    """Compare a unit with its module's others, or with itself over parts of the calibration."""
    least_channels: Ratio = 0.1
    """Share of the channels of every block that stay at least; of KV groups one does."""
    samples: Count = 10
    """Calibration samples to read, the first ones (N)."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Refuse also too few samples for importance to fluctuate over."""
        super().check(model, calibration)
        if self.fluctuation == "batch" and calibration is not None:
            there = min(self.samples, len(calibration.ids))
            if there < PARTS:
                raise BadInput(
                    f"fluctuation=batch compares {PARTS} parts of the calibration and has {there} "
                    "samples; give more, or take fluctuation=zscore"
                )

    def reach(self, model: LanguageModel) -> float:
        """Return the largest share that leaves every block what it has to keep."""
        there, can = 0, 0
        for block in model.blocks:
            for kind in self.kinds:
                costs = unit_costs(block, kind)
                there += int(costs.sum())
                can += int(costs[self.least_of(kind, len(costs)) :].sum())  # all cost alike
        return min(can / max(there, 1), super().reach(model))

    def least_of(self, kind: Kind, units: int) -> int:
        """Count the units of a kind that stay in a block."""
        return min(1, units) if kind == "kv-groups" else math.ceil(self.least_channels * units)

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Score all units on the dense model, remove the lowest, return the widths left."""
        sentences = next(calibration.chunks(self.samples))
        size = len(sentences.ids)
        if self.fluctuation == "batch":
            size //= PARTS
        parts: list[list[Views]] = []  # of every part, the views of each module
        for part in sentences.chunks(size):
            parts.append(self.views(model, part))
        scores = []
        kinds = [kind for _ in model.blocks for kind in self.kinds]
        for kind, module in zip(kinds, zip(*parts, strict=True), strict=True):
            vector, element = map(torch.stack, zip(*module, strict=True))  # [parts, units]
            score = standardise(self.indicator(vector, element))
            score[score.topk(self.least_of(kind, len(score))).indices] = torch.inf
            scores.append(score)
        return remove_units(model, self.choose(model, torch.cat(scores)))

    def views(self, model: LanguageModel, tokens: Tokens) -> list[Views]:
        """Return both importances of the units of every module, in the order of `costs`."""
        found: dict[tuple[int, Kind], Views] = {}
        for block in backwalk(model, tokens, gradients=model.blocks[0].linears(), squares=True):
            first = saliences(block, block.gradients)  # w g
            second = saliences(block, block.gradients, block.squares)  # w g - F w^2 / 2
            for kind in self.kinds:
                # I_vec = sum_v | sum_e w g |,  I_el = sum_v sum_e | w g - F w^2 / 2 |
                vector = vector_scores(block, kind, first, whole=True).sum(dim=(0, 2))
                element = vector_scores(block, kind, second, whole=False).sum(dim=(0, 2))
                found[block.index, kind] = vector.cpu(), element.cpu()
        return [found[block.index, kind] for block in model.blocks for kind in self.kinds]

    def indicator(self, vector: Tensor, element: Tensor) -> Tensor:
        """Return how units of a module stand, `[units]`, from both importances `[parts, units]`."""
        views = {"vector": [vector], "element": [element]}.get(self.fusion, [vector, element])
        fused = torch.stack([weighed(view) for view in views]).sum(dim=0)
        if self.fluctuation == "zscore":
            return fused[0]
        return fused.mean(dim=0) / (fused.std(dim=0) + EPSILON)


def weighed(view: Tensor) -> Tensor:
    """Return `I / (2 sigma^2)` for importances `[parts, units]` of one view.

    The noise is that which makes the sum of `I / (2 sigma^2) + log sigma` least: `sigma^2` is the
    mean of `I`. The logarithm is the same for all units that share it, and left out.
    """
    variance = view.mean().clamp(min=torch.finfo(view.dtype).tiny)
    return view / (2 * variance)
