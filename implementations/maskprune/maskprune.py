"""MaskPrune: masks, low-rank factors and one width for all layers (Qin et al., 2025).

Every KV group and every channel has a mask, a number that multiplies it. Training lowers what
separates the model from the dense one; a multiplier for each layer presses the smallest masks to
zero; another, of the budget, says how many of them that are: as many in every layer. In the end
those units go, and what the other masks have become is multiplied into the weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
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
    course,
    distillation_loss,
    gated,
    logits_of,
    low_rank,
    optimise,
    remove_units,
    smallest,
    unit_costs,
)
from implementations.maskprune.masks import HELD, bottom, by_order, dense, fold, marginal, press


class MaskPrune(UnitMethod):
    """Learn masks, factors and one width for all layers by a min-max problem, then cut and merge.

    Source: Qin et al., arXiv:2502.14008, as summaries tell it; the updates are those of UVC (Yu et
    al., ICLR 2022), whose ingredients it has, with masks in place of weights.
    """

    capabilities = Capabilities(
        granularity=("kv-groups", "channels"), calibration="training", trains="weights"
    )
    small: ClassVar[dict[str, Any]] = {"steps": 4, "batch": 2, "rank": 2}
    least = 1

    steps: Count = 600
    """Steps of the optimiser."""
    batch: Count = 8
    """Windows a step."""
    sorting: Ratio = 1 / 12
    """Share of the steps in which masks are held, and the loss tells them apart."""
    factors: bool = True
    """Whether low-rank factors are trained with the masks."""
    learning_rate: Positive = 1e-3
    """Of the factors."""
    rank: Count = 8
    """Of the factors."""
    scale: Positive = 1.0
    """What multiplies their product."""
    mask_rate: Positive = 0.1
    """Learning rate of the masks."""
    loss_weight: Positive = 0.1
    """Root mean square that the gradients of the masks have at most, to weigh the multipliers."""
    width_rate: Positive = 0.02
    """Learning rate of the widths, which are shares of the dense ones."""
    pressure_rate: NonNegative = 0.5
    """How fast the multipliers of the layers rise."""
    budget_rate: NonNegative = 1.0
    """How fast the multiplier of the budget follows."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Refuse also a model whose blocks have different widths."""
        super().check(model, calibration)
        if self.factors:
            check_low_rank(self.slug())
        widths = {(b.attention.kv_heads, b.feed_forward.channels) for b in model.blocks}
        if len(widths) > 1:
            raise BadInput(
                f"{self.slug()} gives all blocks the same width, and those of {model.name} differ; "
                "prune the dense model instead"
            )

    def unit(self, model: LanguageModel) -> int:
        """Count the weights of the largest unit in every block, where it goes at once."""
        return super().unit(model) * len(model.blocks)

    def prune(self, model: LanguageModel, calibration: Calibration) -> dict[str, Any]:
        """Train masks, factors and widths, cut all layers alike and fold in what is left."""
        stream = calibration.training
        assert stream is not None  # `apply` has checked
        problem = MinMax(self, model)
        plan = Plan(self.steps, self.learning_rate, self.batch, decay="none", clip=None)
        with self.beside(model) as factors, gated(model, *self.kinds) as gates:

            def loss(ids: Tensor) -> Tensor:
                with torch.no_grad(), dense(gates, factors):
                    teacher = logits_of(model, ids)
                gates.values = problem.masks
                return distillation_loss(logits_of(model, ids), teacher)

            groups: list[dict[str, Any]] = [
                # A large epsilon leaves gradients their size, relative to that of the others.
                {"params": [problem.masks], "lr": self.mask_rate, "eps": 1.0},
                *([{"params": factors}] if factors else []),
            ]
            losses = optimise(groups, loss, stream, plan, after=problem.update, state=problem.state)
        lost = self.counts_lost(model, problem.shares)
        fold(model, problem.by_kind(), self.kinds)
        gone = [smallest(masks.abs(), n) for masks, n in zip(problem.by_kind(), lost, strict=True)]
        left = remove_units(model, torch.cat(gone, dim=1).flatten())
        return {
            **left,
            "shares_learned": dict(zip(self.kinds, problem.shares.tolist(), strict=True)),
            "multiplier_of_the_budget": float(problem.budget),
            "course": course(losses, stream, self.batch),
        }

    @contextmanager
    def beside(self, model: LanguageModel) -> Iterator[list[nn.Parameter]]:
        """Put factors beside the weights, or none, and freeze the rest."""
        if self.factors:
            with low_rank(model, self.rank, self.scale) as factors:
                yield factors
        else:
            model.hf.requires_grad_(False)
            yield []

    def counts_lost(self, model: LanguageModel, shares: Tensor) -> list[int]:
        """Count the KV groups and channels that every block loses, by the shares learned.

        The groups are rounded, as far as the channels can make up for it; they meet the budget.
        """
        (groups, channels), (group, channel) = self.sizes(model)
        budget = self.sparsity * sum(int(unit_costs(b, "blocks")) for b in model.blocks)
        most = min(int(budget / group), groups - self.least) if group else 0
        fewest = (
            max(math.ceil((budget - channel * (channels - self.least)) / group), 0) if group else 0
        )
        lost = max(min(round(float(shares[0]) * groups), most), fewest)
        rest = round((budget - lost * group) / channel) if channel else 0
        return [lost, max(min(rest, channels - self.least), 0)]

    def sizes(self, model: LanguageModel) -> tuple[list[int], list[int]]:
        """Return how many units of each kind a block has, and what one costs in all blocks."""
        costs = [unit_costs(model.blocks[0], kind) for kind in self.kinds]
        return [len(units) for units in costs], [
            int(units.max()) * len(model.blocks) if len(units) else 0 for units in costs
        ]


class MinMax:
    """Masks, shares to remove and multipliers, and what becomes of them after each step.

    `masks` is `[units]`, ordered as by `gated`; all else is in `state`.
    """

    def __init__(self, method: MaskPrune, model: LanguageModel) -> None:
        self.method = method
        self.units, costs = method.sizes(model)
        total = sum(int(unit_costs(block, "blocks")) for block in model.blocks)
        self.held = torch.tensor(self.units) * torch.tensor(costs) / total
        """Share of the weights that each kind of unit holds."""
        self.blocks = len(model.blocks)
        start = torch.full((self.blocks * sum(self.units),), HELD if method.sorting else 1.0)
        self.masks = nn.Parameter(start.to(model.device))
        self.masks.register_hook(self.relative)
        self.slopes = torch.zeros_like(self.masks.detach())
        """How much the loss moved with each mask while they were sorted."""
        self.shares = torch.zeros(2)
        """Of each kind, how much goes of every block."""
        self.pressure = torch.full((2, self.blocks), 1e-3)
        """The multiplier of the smallest masks of each layer."""
        self.budget = torch.tensor(1e-3)
        """The multiplier of the budget."""
        self.steepest = torch.full((2,), 1e-6)
        """What gradients are divided by: at first the masks are where the loss is least."""
        self.done = torch.zeros((), dtype=torch.int64)
        """Steps that are taken."""
        self.state = {
            "shares": self.shares,
            "pressure": self.pressure,
            "budget": self.budget,
            "steepest": self.steepest,
            "slopes": self.slopes,
            "done": self.done,
        }

    @property
    def sorts(self) -> bool:
        """Whether masks are still held, to find their order before any is pressed."""
        return int(self.done) < self.method.sorting * self.method.steps

    def by_kind(self, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """View masks, or values like them, as `[blocks, units]` for each kind."""
        values = self.masks.detach() if values is None else values
        kinds: tuple[Tensor, ...] = values.view(self.blocks, -1).split(self.units, dim=1)
        return kinds

    def relative(self, gradient: Tensor) -> Tensor:
        """Divide the gradients of each kind by the largest root mean square they had, and weigh.

        While masks are held only the sizes of their gradients are added up: where all are too small
        the loss often falls when a unit that matters becomes smaller still, so that the sign says
        nothing of how much it would be missed.
        """
        if self.sorts:
            self.slopes += gradient.abs()
            return torch.zeros_like(gradient)
        parts = self.by_kind(gradient)
        now = torch.stack([part.square().mean().sqrt() for part in parts]).cpu()
        torch.maximum(self.steepest, now.nan_to_num(), out=self.steepest)
        weights = (self.method.loss_weight / self.steepest).tolist()
        return torch.cat([x * w for x, w in zip(parts, weights, strict=True)], dim=1).flatten()

    def update(self, step: int) -> None:
        """Press the smallest masks, and move widths and multipliers."""
        method, sorts = self.method, self.sorts
        self.done.fill_(step + 1)
        if sorts:
            if not self.sorts:
                for masks, slopes in zip(self.by_kind(), self.by_kind(self.slopes), strict=True):
                    masks.copy_(by_order(slopes))
            return
        # The budget comes down over the first half, lest its multiplier run away.
        allowed = 1 - method.sparsity * min(2 * (step + 1) / method.steps, 1)
        for kind, masks in enumerate(self.by_kind()):
            units, pressure = self.units[kind], self.pressure[kind]
            width = float(self.shares[kind]) * units
            press(masks, width, method.mask_rate * pressure)
            slope = marginal(masks, width, pressure) - self.budget * self.held[kind]
            self.shares[kind] -= method.width_rate * slope.clamp(-1, 1)
            self.shares[kind].clamp_(0, 1 - 1 / max(units, 1))
            # The multipliers follow the new width, as in UVC.
            norm = bottom(masks, float(self.shares[kind]) * units)  # [blocks]
            pressure += method.pressure_rate * norm.cpu() / max(units, 1)
        left = 1 - self.held @ self.shares
        self.budget += method.budget_rate * (left - allowed)
        self.budget.clamp_(min=0)
