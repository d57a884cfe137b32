"""Adapt-Pruner: adaptive structured pruning in many small steps, with training between stages.

A block that hardly changes the direction of its input can lose more weights than one that changes
it a lot. Before every small step, this is measured again on the current model, together with the
gradients that score the KV groups and MLP channels inside a block (Pan et al., 2025). Between
stages of such steps all weights are trained under one learning rate schedule (Adapt-Accel).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from implementations.harness import (
    BadInput,
    Block,
    Calibration,
    Capabilities,
    Count,
    Kind,
    LanguageModel,
    NonNegative,
    Plan,
    Positive,
    Ratio,
    Stream,
    Tokens,
    UnitMethod,
    Whole,
    backwalk,
    cheapest,
    check_predictions,
    cosine_distance,
    keep_units,
    next_token_loss,
    optimise,
    saliences,
    smallest,
    training_course,
    vector_scores,
    walk,
    widths_left,
)

MOST = 0.99  # largest sparsity of a block
WARMUP = 0.05  # share of all updates used for the warm-up
ROUNDING = 1e-9  # tolerance for rounding errors in a sum of sparsities
DECAY_SHARE = 0.1  # share of all updates, at the end, in which the learning rate decays


class AdaptPruner(UnitMethod):
    """Prune KV groups and MLP channels in small steps, most in layers that change the input least.

    Source: Pan et al., arXiv:2502.03460, with steps and schedule as in its code.
    """

    capabilities = Capabilities(
        granularity=("kv-groups", "channels"),
        calibration="training",
        trains="weights",
        changes=("linears", "norms", "embedding", "head"),
    )
    tiny_settings: ClassVar[dict[str, Any]] = {"steps": 4, "stages": 2, "updates": 3, "batch": 2}
    least = 1

    sparsity: Ratio = 0.2
    """Share of the weights in the decoder's linear layers to remove."""
    steps: Count = 50
    """Steps in which the mean sparsity would reach 1 (T); pruning stops at the target."""
    amplitude: NonNegative = 0.02
    """Largest sparsity by which a layer's increase in a step differs from the mean increase (A)."""
    samples: Count = 512
    """Calibration samples drawn for each step; all of them if there are fewer."""
    stages: Whole = 5
    """Number of stages of pruning and training (K); 0 prunes once without training."""
    updates: Count = 60_268
    """Optimiser steps in all stages together; later stages get more of them."""
    batch: Count = 128
    """Training windows per update."""
    at_once: Count = 1
    """Windows per forward pass; `batch` must be a multiple of it."""
    learning_rate: Positive = 2e-5
    """Peak learning rate, after the warm-up; it decays in the last tenth of the updates."""
    end: Ratio = 0.1
    """Final learning rate as a share of the peak, almost reached by the last update."""

    @property
    def trains_weights(self) -> bool:
        """Whether there are stages of training."""
        return self.stages > 0

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Also check the length of the samples and that every stage gets an update."""
        super().check(model, calibration)
        check_predictions(calibration, self.slug())
        if any(a == b for a, b in pairwise(self.milestones())):
            raise BadInput(
                f"updates={self.updates} is too few to train in each of stages={self.stages}; set "
                f"it to at least {self.stages * (self.stages + 1) // 2}, or use fewer stages"
            )
        _ = self.plans()  # raises if a plan is invalid

    def prune(self, model: LanguageModel, calibration: Calibration) -> dict[str, Any]:
        """Prune and train stage by stage; return the remaining widths and the number of steps."""
        assert calibration.training is not None  # guaranteed by `check`
        plans, dense = self.plans(), int(self.costs(model).sum())
        asked, rounds = self.rate(model) * dense, max(len(plans), 1)
        steps: list[int] = []
        losses: list[float] = []
        for stage in range(rounds):
            steps.append(self.narrow(model, calibration, dense - asked * (stage + 1) / rounds))
            if plans:
                losses += self.train(model, calibration.training, plans[stage])
        details: dict[str, Any] = widths_left(model) | {"pruning_steps": steps}
        if plans:
            details["course"] = training_course(losses, calibration.training, self.batch)
        return details

    def narrow(self, model: LanguageModel, calibration: Tokens, goal: float) -> int:
        """Prune step by step until `goal` weights remain; return the number of steps.

        The last step is partial, so that it stops at the goal.
        """
        counts, costs = (both.T.flatten() for both in self.counts_and_costs(model))  # [parts]
        heads = [block.attention.head_size for block in model.blocks]
        rows = torch.tensor([[size, 1] for size in heads]).double().flatten()  # per unit, [parts]
        part = torch.arange(len(counts)).repeat_interleave(counts)  # of each unit, [units]
        number = torch.arange(len(part)) - (counts.cumsum(0) - counts)[part] + 1  # within its part
        removed_at = (number - 1 / rows[part]) / counts[part] + ROUNDING
        left = number <= counts[part] - self.least
        sparsity = torch.zeros(len(heads), dtype=torch.float64)
        for step in range(self.steps):
            excess = int(self.costs(model).sum()) - goal
            if excess <= int(costs[costs > 0].min()) / 2:
                return step
            samples = calibration.draw(self.samples)
            risen = self.risen(sparsity, importance(model, samples))
            when = moments(removed_at, sparsity[part // 2], risen[part // 2])
            candidates = (left & (when < 1) if step < self.steps - 1 else left).nonzero().flatten()
            share = excess / max(int(costs[part[candidates]].sum()), 1)
            candidates = candidates[cheapest(when[candidates], costs[part[candidates]], share)]
            left[candidates], sparsity = False, risen
            lost = torch.bincount(part[candidates], minlength=len(counts)).view(-1, 2)
            self.cut(model, samples, lost)
            if share <= 1:
                return step + 1
        return self.steps

    def risen(self, sparsity: Tensor, turns: Tensor) -> Tensor:
        """Return the sparsity of every block after a full step, `[blocks]`, fp64.

        It rises by `1 / T` on average, and by more in blocks that change the direction of their
        input less.
        """
        rise = 1 / self.steps - self.amplitude * normalised(turns)
        return (sparsity + rise).clamp(0, MOST)

    def cut(self, model: LanguageModel, samples: Tokens, lost: Tensor) -> None:
        """Remove the `lost [blocks, kinds]` units with the lowest scores from each block."""
        if not bool(lost.any()):
            return
        for block in backwalk(model, samples, gradients=model.blocks[0].linears()):
            salience = saliences(block, block.gradients)  # w dL/dw
            for kind, count in zip(self.kinds, lost[block.index].tolist(), strict=True):
                if count:
                    keep_units(block, kind, ~smallest(scores(block, kind, salience), count))

    def milestones(self) -> list[int]:
        """Return the number of updates done before each stage, and the total at the end."""
        parts = max(self.stages * (self.stages + 1), 1)
        return [round(self.updates * k * (k + 1) / parts) for k in range(self.stages + 1)]

    def plans(self) -> list[Plan]:
        """Return the training plan of every stage; stage k gets updates in proportion to k."""
        return [
            Plan(
                done - before,
                self.learning_rate,
                batch=self.batch,
                at_once=self.at_once,
                warmup=WARMUP,
                decay="linear",
                decay_share=DECAY_SHARE,
                end=self.end,
                before=before,
                total=self.updates,
            )
            for before, done in pairwise(self.milestones())
        ]

    def train(self, model: LanguageModel, stream: Stream, plan: Plan) -> list[float]:
        """Train all remaining parameters and return the loss of every update."""
        model.hf.train().requires_grad_(True)
        loss = partial(next_token_loss, model)
        return optimise(model.hf.parameters(), loss, stream, plan)


def importance(model: LanguageModel, samples: Tokens) -> Tensor:
    """Return `1 - cos(input, output)` of every block, the mean over all tokens, `[blocks]`, fp64.

    The paper's importance, `-cos`, is smaller by 1, which does not affect `normalised`.
    """
    distances = []
    for block in walk(model, samples, edits=False):
        distances.append(block.token_mean(cosine_distance))
    return torch.tensor(distances, dtype=torch.float64)


def normalised(values: Tensor) -> Tensor:
    """Centre `values [n]` and scale the largest magnitude to 1; equal values all become 0."""
    if values.min() == values.max():
        return torch.zeros_like(values)
    centred = values - values.mean()
    return centred / centred.abs().max()


def moments(removed_at: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Return when a unit is removed in a step from sparsity `before` to `after`, all `[units]`.

    Below 1, the unit is removed within the step. From 1 on, it would be removed later, as the
    sparsity rises from `after` to 1.
    """
    within = (removed_at - before) / (after - before)
    return torch.where(removed_at < after, within, 1 + (removed_at - after) / (1 - after))


def scores(block: Block, kind: Kind, salience: Mapping[str, Tensor]) -> Tensor:
    """Sum `|w dL/dw|` over all weights that are removed with a unit, fp64 `[units]`.

    `salience` maps each role to `w dL/dw`, `[out, in]`.
    """
    return vector_scores(block, kind, salience, whole=False).sum(dim=(0, 2))
