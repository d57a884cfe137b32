"""ATP: fine-tune on a domain and decide what to prune in one stage (Lu et al., arXiv:2412.14426).

In every step, a small network draws which head dimensions and which MLP channels to keep. It learns
from held-out text and from a budget. Low-rank factors are trained under the drawn decisions. Only
the frozen weights are masked, so that a decision can be reversed, while the parts of the factors
that would be removed are pulled to zero. The units removed at the end are then hardly in use.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from implementations.atp.decisions import (
    KINDS,
    DecisionNetwork,
    Patterns,
    decided,
    frozen_masked,
    soft_gates,
    straight_through,
)
from implementations.harness import (
    BadInput,
    Calibration,
    Capabilities,
    Count,
    Gates,
    LanguageModel,
    NonNegative,
    Plan,
    Positive,
    Ratio,
    Stream,
    Tokens,
    UnitMethod,
    budget_loss,
    check_low_rank,
    gated,
    keep_units,
    low_rank,
    next_token_loss,
    optimise,
    total_weights,
    training_course,
)

HELD_OUT = 8  # every eighth window of the domain is reserved for the decisions


class ATP(UnitMethod):
    """Learn pruning decisions on held-out text together with LoRA factors, then remove the units.

    Source: Lu et al., arXiv:2412.14426, by its code of December 2024.
    """

    capabilities = Capabilities(
        granularity=("rotary-pairs", "value-dims", "channels"),
        calibration="training",
        trains="factors",
        texts=("training", "domain"),
        refuses={"opt": "it does not rotate queries and keys, so it has no rotary pairs"},
    )
    tiny_settings: ClassVar[dict[str, Any]] = {"steps": 4, "batch": 1, "rank": 2}

    sparsity: Ratio = 0.4
    """Share of the weights in the decoder's linear layers to remove."""
    steps: Count = 1000
    """Number of optimiser steps."""
    deciding: Ratio = 0.8
    """Share of the steps in which decisions change; the other steps train only the factors."""
    batch: Count = 4
    """Windows per step to tune on, and as many to learn the decisions on."""
    learning_rate: Positive = 1e-4
    """Learning rate of the low-rank factors."""
    rank: Count = 8
    """Rank of the low-rank factors."""
    decision_rate: Positive = 1e-3
    """Learning rate of the decision network."""
    strength: Positive = 5.0
    """Weight of the budget penalty in the loss of the decisions."""
    general: Ratio = 0.25
    """Share of general text among the windows that the decisions are learned on."""
    shrinkage: NonNegative = 50_000.0
    """Final speed at which factors to be removed shrink, in units of the learning rate."""
    two_stage: bool = False
    """Learn the decisions first, on frozen weights, and train the factors afterwards."""

    def costs(self, model: LanguageModel) -> Tensor:
        """Return the weights of every pattern, `[patterns]`, by block and then by kind."""
        return Patterns(model).costs.cpu()

    def max_sparsity(self, model: LanguageModel) -> float:
        """Return the share that can be removed if every block keeps one pattern of each kind."""
        patterns = Patterns(model)
        costs = [part for part in patterns.parts(patterns.costs) if len(part)]
        least = sum(int(part.min()) for part in costs)
        return (int(patterns.costs.sum()) - least) / total_weights(model)

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Also check that `peft` is installed, the domain has two windows, and no part is empty."""
        super().check(model, calibration)
        if not all(b.attention.kv_heads and b.feed_forward.channels for b in model.blocks):
            raise BadInput(
                f"{self.slug()} needs attention and MLP channels in every block, but a block of "
                f"{model.name} lacks one; prune the dense model instead"
            )
        check_low_rank(self.slug())
        assert isinstance(calibration, Calibration)
        assert calibration.domain is not None  # guaranteed by the base class
        split(calibration.domain)

    def prune(self, model: LanguageModel, calibration: Calibration) -> dict[str, Any]:
        """Train decisions and factors in turn, remove the chosen units and merge the factors."""
        stage = Stage(self, model, calibration)
        plan = Plan(self.steps, self.learning_rate, self.batch, self.batch, decay="none", clip=None)
        with low_rank(model, self.rank, 1.0) as stage.factors, gated(model, *KINDS) as stage.gates:
            groups: list[dict[str, Any]] = [
                {"params": stage.factors},
                {"params": list(stage.network.parameters()), "lr": self.decision_rate},
            ]
            losses = optimise(
                groups,
                stage.loss,
                stage.domain,
                plan,
                before=stage.clip,
                after=stage.after,
            )
            left_over = stage.patterns.shrink(model, stage.removed, float("inf"))
        parts = stage.patterns.units(stage.removed)
        kept: dict[str, list[int]] = {kind: [] for kind in KINDS}
        for block in model.visit():
            for kind in KINDS:
                stay = ~next(parts).cpu()
                kept[kind].append(int(stay.sum()))
                keep_units(block, kind, stay)
        return {
            "kept": kept,
            "open_before_the_cut": stage.open,
            "factors_left_over": left_over,
            "course": training_course(losses, stage.domain, self.batch),
        }


class Stage:
    """State of the training stage: the inputs of both losses and the current decisions."""

    factors: list[nn.Parameter]
    gates: Gates

    def __init__(self, method: ATP, model: LanguageModel, calibration: Calibration) -> None:
        assert calibration.domain is not None  # guaranteed by `check`
        assert calibration.training is not None
        self.method, self.model = method, model
        self.domain, self.held_out = split(calibration.domain)
        self.general = calibration.training
        self.patterns = Patterns(model)
        self.network = DecisionNetwork(self.patterns.sizes).to(model.device)
        self.target = 1 - method.rate(model)
        self.removed = torch.zeros(len(self.patterns.costs), dtype=torch.bool, device=model.device)
        """Patterns that this step removes, boolean `[patterns]`."""
        self.done = 0
        self.open = 1.0
        """Share of the prunable weights that the last draw before the final decision kept."""
        self.deciding = max(round(method.deciding * method.steps), 1)
        """Number of steps in which decisions change."""

    def loss(self, ids: Tensor) -> Tensor:
        """Return the sum of both losses of a step; each has its own parameters."""
        step, total = self.done, torch.zeros((), device=self.model.device)
        if step < self.deciding:
            total = total + self.decision_loss(step)
            with torch.no_grad(), rest(self.network):
                # Drawn once, so that factors are trained and shrunk under the same decisions.
                self.removed.copy_(soft_gates(self.network()) < 0.5)
        if self.tunes(step):
            self.gates.values = None
            with frozen_masked(self.patterns, self.removed):
                total = total + next_token_loss(self.model, ids)
        return total

    def decision_loss(self, step: int) -> Tensor:
        """Return the loss of one draw: on held-out text, plus the budget; factors are frozen."""
        of_general = int((step + 1) * self.method.general) > int(step * self.method.general)
        stream = self.general if of_general else self.held_out
        ids = next(stream.batches(self.method.batch, start=step))
        soft = soft_gates(self.network())  # [patterns]
        costs = self.patterns.costs
        left = (straight_through(soft) * costs).sum() / costs.sum()
        self.gates.values = self.patterns.spread(soft)
        for factor in self.factors:
            factor.requires_grad_(False)
        loss = next_token_loss(self.model, ids)
        for factor in self.factors:
            factor.requires_grad_(True)
        return loss + self.method.strength * budget_loss(left, self.target)

    def tunes(self, step: int) -> bool:
        """Return whether a step trains the factors."""
        return step >= self.deciding or not self.method.two_stage

    def clip(self, _: int) -> None:
        """Clip the gradients of the network and of the factors, each separately."""
        nn.utils.clip_grad_norm_(self.network.parameters(), 3.0)
        nn.utils.clip_grad_norm_(self.factors, 1.0)

    def after(self, step: int) -> None:
        """Make the final decision when it is due, and shrink the factors of removed patterns."""
        method = self.method
        self.done = step + 1
        if step == self.deciding - 1:
            costs = self.patterns.costs
            self.open = float(1 - (self.removed * costs).sum() / costs.sum())
            with rest(self.network):
                self.removed.copy_(decided(self.patterns, self.network(), 1 - self.target))
        if self.tunes(step):
            growth = math.expm1((step + 1) / method.steps) / math.expm1(1)  # from 0 to 1
            amount = method.shrinkage * growth * method.learning_rate
            self.patterns.shrink(self.model, self.removed, amount)


@contextmanager
def rest(network: nn.Module) -> Iterator[None]:
    """Context manager that turns off dropout in a network."""
    network.eval()
    try:
        yield
    finally:
        network.train()


def split(domain: Stream) -> tuple[Stream, Stream]:
    """Split the domain into windows to tune on and windows to learn the decisions on.

    Raises `BadInput` if the domain has a single window.
    """
    count = len(domain.windows.ids)
    if count < 2:
        raise BadInput("the domain has only one window, but needs at least 2; use a longer text")
    held = [i for i in range(count) if i % HELD_OUT == HELD_OUT - 1] or [count - 1]
    return domain.split(held)
