"""MaskPrune: learn masks, LoRA factors and one width for all layers (Qin et al., 2025).

Every KV group and every MLP channel has a mask, a number that multiplies its output. Training
minimises the divergence from the dense model. One Lagrange multiplier per layer shrinks the
smallest masks to zero. Another one, for the budget, sets how many they are, the same number in
every layer. Finally these units are removed and the other masks are multiplied into the weights.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from implementations.harness import (
    BadInput,
    Calibration,
    Capabilities,
    Count,
    LanguageModel,
    NonNegative,
    Plan,
    Positive,
    Ratio,
    Tokens,
    UnitMethod,
    check_low_rank,
    distillation_loss,
    gated,
    logits_of,
    optimise,
    remove_units,
    smallest,
    total_weights,
    training_course,
    unit_costs,
)
from implementations.maskprune.masks import (
    HELD,
    bottom,
    by_order,
    dense,
    fold,
    lora_factors,
    marginal,
    shrink,
)


class MaskPrune(UnitMethod):
    """Learn masks, LoRA factors and one width for all layers by min-max optimisation, then prune.

    Source: Qin et al., arXiv:2502.14008, reconstructed from summaries. The updates are those of UVC
    (Yu et al., ICLR 2022), applied to masks instead of weights.
    """

    capabilities = Capabilities(
        granularity=("kv-groups", "channels"), calibration="training", trains="factors"
    )
    tiny_settings: ClassVar[dict[str, Any]] = {"steps": 4, "batch": 2, "rank": 2}
    least = 1

    steps: Count = 600
    """Number of optimiser steps."""
    batch: Count = 8
    """Windows per step."""
    sorting: Ratio = 1 / 12
    """Share of the steps, at the start, that hold the masks fixed to rank them by gradient."""
    factors: bool = True
    """Whether to train LoRA factors together with the masks."""
    learning_rate: Positive = 1e-3
    """Learning rate of the LoRA factors."""
    rank: Count = 8
    """Rank of the LoRA factors."""
    scale: Positive = 1.0
    """Multiplier of the product of the LoRA factors."""
    mask_rate: Positive = 0.1
    """Learning rate of the masks (eta_m)."""
    loss_weight: Positive = 0.1
    """Largest root mean square of the masks' gradients; weighs the loss against the multipliers."""
    width_rate: Positive = 0.02
    """Learning rate of the shares to remove (rho)."""
    pressure_rate: NonNegative = 0.5
    """Learning rate of the multipliers of the layers (y)."""
    budget_rate: NonNegative = 1.0
    """Learning rate of the multiplier of the budget (z)."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Also reject a model whose blocks have different widths."""
        super().check(model, calibration)
        if self.factors:
            check_low_rank(self.slug())
        widths = {(b.attention.kv_heads, b.feed_forward.channels) for b in model.blocks}
        if len(widths) > 1:
            raise BadInput(
                f"{self.slug()} needs a model whose blocks all have the same width, but those of "
                f"{model.name} differ; prune the dense model instead"
            )

    def largest_unit(self, model: LanguageModel) -> int:
        """Count the weights of the largest unit in all blocks, which lose it together."""
        return super().largest_unit(model) * len(model.blocks)

    def prune(self, model: LanguageModel, calibration: Calibration) -> dict[str, Any]:
        """Train, remove the same number of units from every layer, and fold in the other masks."""
        stream = calibration.training
        assert stream is not None  # checked by `apply`
        problem = MinMax(self, model)
        plan = Plan(self.steps, self.learning_rate, self.batch, decay="none", clip=None)
        rank = self.rank if self.factors else 0
        with lora_factors(model, rank, self.scale) as factors, gated(model, *self.kinds) as gates:

            def loss(ids: Tensor) -> Tensor:
                with torch.no_grad(), dense(gates, factors):
                    teacher = logits_of(model, ids)
                gates.values = problem.masks
                return distillation_loss(logits_of(model, ids), teacher)

            groups: list[dict[str, Any]] = [
                # A large epsilon preserves the relative sizes of the gradients.
                {"params": [problem.masks], "lr": self.mask_rate, "eps": 1.0},
                *([{"params": factors}] if factors else []),
            ]
            losses = optimise(
                groups,
                loss,
                stream,
                plan,
                before=problem.scale_gradient,
                after=problem.update,
            )
        lost = self.counts_lost(model, problem.shares)
        fold(model, problem.by_kind(), self.kinds)
        removed = [smallest(m.abs(), n) for m, n in zip(problem.by_kind(), lost, strict=True)]
        left = remove_units(model, torch.cat(removed, dim=1).flatten())
        return {
            **left,
            "shares_learned": dict(zip(self.kinds, problem.shares.tolist(), strict=True)),
            "multiplier_of_the_budget": float(problem.budget),
            "course": training_course(losses, stream, self.batch),
        }

    def counts_lost(self, model: LanguageModel, shares: Tensor) -> list[int]:
        """Return how many KV groups and channels every block loses, given the learned shares.

        The number of groups is rounded, within what the channels can offset to meet the budget.
        """
        (groups, channels), (group, channel) = self.sizes(model)
        budget = self.budget(model)
        most = min(int(budget / group), groups - self.least) if group else 0
        fewest = math.ceil((budget - channel * (channels - self.least)) / group) if group else 0
        lost = max(min(round(float(shares[0]) * groups), most), fewest, 0)
        rest = round((budget - lost * group) / channel) if channel else 0
        return [lost, max(min(rest, channels - self.least), 0)]

    def sizes(self, model: LanguageModel) -> tuple[list[int], list[int]]:
        """Return the units of each kind per block, and the weights of one unit in all blocks."""
        costs = [unit_costs(model.blocks[0], kind) for kind in self.kinds]
        weights = [int(units[:1].sum()) * len(model.blocks) for units in costs]
        return [len(units) for units in costs], weights


class MinMax:
    """Masks, shares to remove and multipliers, with their update after each step.

    `masks` is `[units]`, in the order of `gated`.
    """

    def __init__(self, method: MaskPrune, model: LanguageModel) -> None:
        self.method = method
        self.units, costs = method.sizes(model)
        total = total_weights(model)
        self.held = torch.tensor(self.units) * torch.tensor(costs) / total
        """Share of the weights that each kind of unit holds."""
        self.blocks = len(model.blocks)
        start = torch.full((self.blocks * sum(self.units),), HELD if method.sorting else 1.0)
        self.masks = nn.Parameter(start.to(model.device))
        self.slopes = torch.zeros_like(self.masks.detach())
        """Sum of the absolute gradients of each mask during sorting."""
        self.shares = torch.zeros(2)
        """Share of the units of each kind to remove from every block (rho)."""
        self.pressure = torch.full((2, self.blocks), 1e-3)
        """Multiplier of the smallest masks, `[kinds, blocks]` (y)."""
        self.budget = torch.tensor(1e-3)
        """Multiplier of the budget (z)."""
        self.steepest = torch.full((2,), 1e-6)
        """Divisor of the gradients, above 0: masks start at the minimum of the loss."""
        self.done = 0
        """Number of completed steps."""

    @property
    def sorts(self) -> bool:
        """Whether masks are still held fixed, to rank them before any is shrunk."""
        return self.done < self.method.sorting * self.method.steps

    def by_kind(self, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return a view of masks or similar values as `[blocks, units]` for each kind."""
        values = self.masks.detach() if values is None else values
        kinds: tuple[Tensor, ...] = values.view(self.blocks, -1).split(self.units, dim=1)
        return kinds

    def scale_gradient(self, _: int) -> None:
        """Divide gradients of each kind by their largest root mean square so far; apply the weight.

        While masks are held fixed, only add up the absolute gradients. Signs are ignored: where all
        masks are too small, making an important unit smaller still often lowers the loss.
        """
        gradient = self.masks.grad
        assert gradient is not None
        if self.sorts:
            self.slopes += gradient.abs()
            gradient.zero_()
            return
        parts = self.by_kind(gradient)
        now = torch.stack([part.square().mean().sqrt() for part in parts]).cpu()
        torch.maximum(self.steepest, now.nan_to_num(), out=self.steepest)
        weights = (self.method.loss_weight / self.steepest).tolist()
        for part, weight in zip(parts, weights, strict=True):
            part.mul_(weight)

    def update(self, step: int) -> None:
        """Shrink the smallest masks, then update widths and multipliers."""
        method, sorts = self.method, self.sorts
        self.done = step + 1
        if sorts:
            if not self.sorts:
                for masks, slopes in zip(self.by_kind(), self.by_kind(self.slopes), strict=True):
                    masks.copy_(by_order(slopes))
            return
        # The budget decreases over the first half; otherwise its multiplier would run away.
        allowed = 1 - method.sparsity * min(2 * (step + 1) / method.steps, 1)
        for kind, masks in enumerate(self.by_kind()):
            units, pressure = self.units[kind], self.pressure[kind]
            width = float(self.shares[kind]) * units
            shrink(masks, width, method.mask_rate * pressure)
            slope = marginal(masks, width, pressure) - self.budget * self.held[kind]
            self.shares[kind] -= method.width_rate * slope.clamp(-1, 1)
            self.shares[kind].clamp_(0, 1 - 1 / max(units, 1))
            # The multipliers use the new width, as in UVC.
            norm = bottom(masks, float(self.shares[kind]) * units)  # [blocks]
            pressure += method.pressure_rate * norm.cpu() / max(units, 1)
        left = 1 - self.held @ self.shares
        self.budget += method.budget_rate * (left - allowed)
        self.budget.clamp_(min=0)
