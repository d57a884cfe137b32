"""Adapt-Pruner: many small cuts, most where a block changes least, with training in between.

A block that hardly turns the direction of what enters it can lose more than one that turns it a
lot. That is measured again before every small step, on the model as it has become, and so are the
gradients that say which KV groups and channels of a block matter least (Pan et al., 2025). Between
stages of such steps all weights are trained, under one schedule of the learning rate (Adapt-Accel).
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
    course,
    keep_units,
    next_token_loss,
    optimise,
    saliences,
    smallest,
    turn,
    vector_scores,
    walk,
    widths_left,
)

MOST = 0.99  # sparsity that steps lead to at most
WARMUP = 0.05  # share of all updates in which the learning rate rises
ROUNDING = 1e-9  # by which a sum of sparsities may be too large
FALLING = 0.1  # share of them, the last ones, in which it falls


class AdaptPruner(UnitMethod):
    """Remove KV groups and channels in small steps, most of blocks that turn their input least.

    Source: Pan et al., arXiv:2502.03460, with steps and schedule as in its code.
    """

    capabilities = Capabilities(
        granularity=("kv-groups", "channels"),
        calibration="training",
        trains="weights",
        changes=("linears", "norms", "embedding", "head"),
    )
    small: ClassVar[dict[str, Any]] = {"steps": 4, "stages": 2, "updates": 3, "batch": 2}
    least = 1

    sparsity: Ratio = 0.2
    """Share of the decoder blocks' linear weights to remove."""
    steps: Count = 50
    """Steps in which the mean sparsity of a block would rise to 1, T; the share ends them."""
    amplitude: NonNegative = 0.02
    """Sparsity that the least important block gains in a step beyond the mean one, at most, A."""
    samples: Count = 512
    """Calibration samples that a step draws anew; all where there are no more."""
    stages: Whole = 5
    """Rounds of pruning and training, K; 0 prunes once and trains nothing."""
    updates: Count = 60_268
    """Steps of the optimiser in all stages together, the more the later the stage."""
    batch: Count = 128
    """Windows of the training text that an update reads."""
    at_once: Count = 1
    """Windows that pass through the model together."""
    learning_rate: Positive = 2e-5
    """Largest one, after a warm-up; it falls in the last tenth of the updates."""
    end: Ratio = 0.1
    """Share of it that the last update comes near to."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Refuse also samples without a loss, and fewer updates than every stage needs."""
        super().check(model, calibration)
        if calibration is not None and calibration.ids.shape[1] < 2:
            raise BadInput(
                "adaptpruner needs samples of at least 2 tokens, one to see, one to predict"
            )
        if any(a == b for a, b in pairwise(self.milestones())):
            raise BadInput(
                f"updates={self.updates} leave a stage of stages={self.stages} without training; "
                f"give at least {self.stages * (self.stages + 1) // 2}, or fewer stages"
            )
        _ = self.plans()  # refuses what is none

    def prune(self, model: LanguageModel, calibration: Calibration) -> dict[str, Any]:
        """Prune and train in turn, stage by stage; return the widths left and the steps taken."""
        assert calibration.training is not None  # its check saw to it
        plans, dense = self.plans(), int(self.costs(model).sum())
        asked, rounds = self.rate(model) * dense, max(len(plans), 1)
        steps: list[int] = []
        losses: list[float] = []
        for stage in range(rounds):
            steps.append(self.narrow(model, calibration, dense - asked * (stage + 1) / rounds))
            if plans:
                losses += self.train(model, calibration.training, plans[stage])
        told: dict[str, Any] = widths_left(model) | {"pruning_steps": steps}
        if plans:
            told["course"] = course(losses, calibration.training, self.batch)
        return told

    def narrow(self, model: LanguageModel, calibration: Tokens, goal: float) -> int:
        """Take steps until `goal` weights are left, the last one only so far; return how many."""
        counts, costs = (both.T.flatten() for both in self._counted(model))  # [parts]
        heads = [block.attention.head_size for block in model.blocks]
        rows = torch.tensor([[size, 1] for size in heads]).double().flatten()  # of a unit, [parts]
        part = torch.arange(len(counts)).repeat_interleave(counts)  # of each unit, [units]
        number = torch.arange(len(part)) - (counts.cumsum(0) - counts)[part] + 1  # within its part
        goes_at = (number - 1 / rows[part]) / counts[part] + ROUNDING
        left = number <= counts[part] - self.least
        sparsity = torch.zeros(len(heads), dtype=torch.float64)
        for step in range(self.steps):
            excess = int(self.costs(model).sum()) - goal
            if excess <= int(costs[costs > 0].min()) / 2:
                return step
            samples = self.drawn(calibration)
            risen = self.risen(sparsity, importance(model, samples))
            when = moments(goes_at, sparsity[part // 2], risen[part // 2])
            going = (left & (when < 1) if step < self.steps - 1 else left).nonzero().flatten()
            share = excess / max(int(costs[part[going]].sum()), 1)
            going = going[cheapest(when[going], costs[part[going]], share)]
            left[going], sparsity = False, risen
            self.cut(model, samples, torch.bincount(part[going], minlength=len(counts)).view(-1, 2))
            if share <= 1:
                return step + 1
        return self.steps

    def drawn(self, calibration: Tokens) -> Tokens:
        """Draw the samples of one step, none twice."""
        order = torch.randperm(len(calibration.ids))[: self.samples].sort().values
        return calibration.pick(order.tolist())

    def risen(self, sparsity: Tensor, turns: Tensor) -> Tensor:
        """Return the sparsity of every block after a full step, `[blocks]`, fp64.

        It rises by `1 / T` for the mean block, and by more where the input is turned less.
        """
        rise = 1 / self.steps - self.amplitude * normalised(turns)
        return (sparsity + rise).clamp(0, MOST)

    def cut(self, model: LanguageModel, samples: Tokens, lost: Tensor) -> None:
        """Remove the units of lowest score from each block, as many as `lost [blocks, kinds]`."""
        if not bool(lost.any()):
            return
        for block in backwalk(model, samples, gradients=model.blocks[0].linears()):
            salience = saliences(block, block.gradients)  # w dL/dw
            for kind, count in zip(self.kinds, lost[block.index].tolist(), strict=True):
                if count:
                    keep_units(block, kind, ~smallest(scores(block, kind, salience), count))

    def milestones(self) -> list[int]:
        """Count the updates that are done when each stage begins, and when all are."""
        parts = max(self.stages * (self.stages + 1), 1)
        return [round(self.updates * k * (k + 1) / parts) for k in range(self.stages + 1)]

    def plans(self) -> list[Plan]:
        """Return the plan of every stage: of stage k a share of all updates proportional to k."""
        return [
            Plan(
                done - before,
                self.learning_rate,
                batch=self.batch,
                at_once=self.at_once,
                warmup=WARMUP,
                decay="linear",
                falling=FALLING,
                end=self.end,
                before=before,
                total=self.updates,
            )
            for before, done in pairwise(self.milestones())
        ]

    def train(self, model: LanguageModel, stream: Stream, plan: Plan) -> list[float]:
        """Train all parameters that are left and return the loss of every update."""
        model.hf.train().requires_grad_(True)
        loss = partial(next_token_loss, model)
        return optimise(model.hf.parameters(), loss, stream, plan)


def importance(model: LanguageModel, samples: Tokens) -> Tensor:
    """Return `1 - cos(input, output)` of every block, the mean over all tokens, `[blocks]`, fp64.

    The paper's importance, `-cos`, is 1 less, which makes no difference to `normalised`.
    """
    found = []
    for block in walk(model, samples, edits=False):
        turns = torch.cat([turn(x, y).flatten() for x, y in block.run()])  # [tokens]
        found.append(float(turns.mean()))
    return torch.tensor(found, dtype=torch.float64)


def normalised(values: Tensor) -> Tensor:
    """Centre `values [n]` and scale the largest to size 1; values that are all equal become 0."""
    if values.min() == values.max():
        return torch.zeros_like(values)
    centred = values - values.mean()
    return centred / centred.abs().max()


def moments(goes_at: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Say when in a step from sparsity `before` to `after` a unit goes, all `[units]`.

    Below 1 it goes in the step; from 1 on it would go on the way from there to sparsity 1.
    """
    within = (goes_at - before) / (after - before)
    return torch.where(goes_at < after, within, 1 + (goes_at - after) / (1 - after))


def scores(block: Block, kind: Kind, salience: Mapping[str, Tensor]) -> Tensor:
    """Sum `|w dL/dw|` over all weights that go with a unit, fp64 `[units]`.

    `salience` holds `w dL/dw`, `[out, in]`, by role.
    """
    return vector_scores(block, kind, salience, whole=False).sum(dim=(0, 2))
