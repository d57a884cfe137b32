"""SAAP: two Taylor scores weighted by their noise, ranked over the model (Zheng et al., 2024).

SAAP follows LLM-Pruner but estimates importance differently. Each head or channel gets two
importances from the same gradients: one for its rows and columns as wholes, one summed element by
element. Both are treated as measurements with noise that all units of a module share, and the
best-fitting noise levels decide how the two are mixed. An indicator of how far a unit stands out in
its module then makes units of all modules and layers comparable. The lowest units of the whole
model are removed.
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

PARTS = 4  # the calibration set is split into at least this many parts for fluctuation=batch
EPSILON = 1e-6  # small against importances with mean 1

Views = tuple[Tensor, Tensor]  # I_vec and I_el of the units of a module, [units] each


class SAAP(UnitMethod):
    """Remove KV groups and MLP channels by a global ranking of two fused Taylor importances.

    Source: Zheng et al., arXiv:2412.15127, rebuilt from summaries.
    """

    capabilities = Capabilities(granularity=("kv-groups", "channels"), calibration="gradient")

    sparsity: Ratio = 0.2
    """Share of the weights in the decoder's linear layers to remove."""
    fusion: Literal["uncertainty", "vector", "element"] = "uncertainty"
    """Fuse both importances by their noise levels, or use only one of them."""
    fluctuation: Literal["zscore", "batch"] = "zscore"
    """Compare a unit with its module, or with itself over parts of the calibration set."""
    least_channels: Ratio = 0.1
    """Minimum share of channels that every decoder layer keeps; it also keeps one KV group."""
    samples: Count = 10
    """Number of calibration samples to use, from the first (N)."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Also reject calibration sets that are too small for `fluctuation=batch`."""
        super().check(model, calibration)
        if self.fluctuation == "batch" and calibration is not None:
            there = min(self.samples, len(calibration.ids))
            if there < PARTS:
                raise BadInput(
                    f"fluctuation=batch needs at least {PARTS} calibration samples, got {there}; "
                    "give more samples or use fluctuation=zscore"
                )

    def max_sparsity(self, model: LanguageModel) -> float:
        """Return the largest share that can be removed while every block keeps its minimum."""
        there, can = 0, 0
        for block in model.blocks:
            for kind in self.kinds:
                costs = unit_costs(block, kind)
                there += int(costs.sum())
                can += int(costs[self.least_of(kind, len(costs)) :].sum())  # of equal costs
        return min(can / max(there, 1), super().max_sparsity(model))

    def least_of(self, kind: Kind, units: int) -> int:
        """Return how many units of a kind a block keeps at least."""
        return min(1, units) if kind == "kv-groups" else math.ceil(self.least_channels * units)

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Score all units on the dense model, remove the lowest, return the remaining widths."""
        samples = next(calibration.chunks(self.samples))
        size = len(samples.ids)
        if self.fluctuation == "batch":
            size //= PARTS
        parts: list[list[Views]] = []  # for each part, the views of every module
        for part in samples.chunks(size):
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
        views: dict[tuple[int, Kind], Views] = {}
        roles = model.blocks[0].linears()
        for block in backwalk(model, tokens, gradients=roles, squares=True, edits=False):
            first = saliences(block, block.gradients)  # w g
            second = saliences(block, block.gradients, block.squares)  # w g - F w^2 / 2
            for kind in self.kinds:
                # I_vec = sum_v | sum_e w g |,  I_el = sum_v sum_e | w g - F w^2 / 2 |
                vector = vector_scores(block, kind, first, whole=True).sum(dim=(0, 2))
                element = vector_scores(block, kind, second, whole=False).sum(dim=(0, 2))
                views[block.index, kind] = vector.cpu(), element.cpu()
            del block, first, second  # frees their memory before the next block is differentiated
        return [views[block.index, kind] for block in model.blocks for kind in self.kinds]

    def indicator(self, vector: Tensor, element: Tensor) -> Tensor:
        """Return the indicator of each unit of a module, `[units]`.

        `vector` and `element` are the two importances, `[parts, units]`.
        """
        views = {"vector": [vector], "element": [element]}.get(self.fusion, [vector, element])
        fused = torch.stack([noise_weighted(view) for view in views]).sum(dim=0)
        if self.fluctuation == "zscore":
            return fused[0]
        return fused.mean(dim=0) / (fused.std(dim=0) + EPSILON)


def noise_weighted(view: Tensor) -> Tensor:
    """Return `I / (2 sigma^2)` for importances `[parts, units]` of one view.

    The noise level minimises the sum of `I / (2 sigma^2) + log sigma`, so `sigma^2` is the mean of
    `I`. The logarithm is the same for all units of the module and is left out.
    """
    variance = view.mean().clamp(min=torch.finfo(view.dtype).tiny)
    return view / (2 * variance)
