"""DISP-LLM: dimension-independent structural pruning (Gao et al., NeurIPS 2024).

The residual stream keeps its width, but each attention and each MLP reads from and writes to its
own subset of the dimensions. A small recurrent network chooses these subsets and the MLP channels
to keep. It is trained through gates of 0 and 1, under one budget for the whole model, while no
weight changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from implementations.displlm.network import OPEN, Logits
from implementations.harness import (
    BadInput,
    Calibration,
    Capabilities,
    Count,
    Kind,
    LanguageModel,
    Plan,
    Positive,
    Stream,
    UnitMethod,
    budget_loss,
    gated,
    keep_units,
    next_token_loss,
    optimise,
    training_course,
)

# s1 to s5 of the paper, in this order; all but the channels are dimensions of the residual stream.
VECTORS: tuple[Kind, ...] = (
    "attention-inputs",
    "attention-outputs",
    "feed-forward-inputs",
    "channels",
    "feed-forward-outputs",
)


class DispLLM(UnitMethod):
    """Learn which dimensions each attention and MLP reads and writes, and which channels to keep.

    Source: Gao et al., arXiv:2410.11988, equations 2 to 6 and algorithms 1 and 2.
    """

    capabilities = Capabilities(
        granularity=("hidden", "channels"), calibration="training", trains="gates"
    )
    tiny_settings: ClassVar[dict[str, Any]] = {"steps": 6, "learning_rate": 0.01}

    steps: Count = 10_000
    """Number of optimiser steps."""
    learning_rate: Positive = 1e-3
    """Learning rate, constant over all steps."""
    batch: Count = 1
    """Training windows per step."""
    strength: Positive = 6.0
    """Weight of the budget penalty in the loss (lambda in equation 5)."""
    temperature: Positive = 1.0
    """Temperature of the second-order gradient estimate."""
    hypernetwork: bool = True
    """Produce the logits of all gates by a network; if false, each logit is a free parameter."""
    tied: bool = False
    """Let all parts read and write the same dimensions."""

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of units that have gates."""
        return VECTORS

    def max_sparsity(self, model: LanguageModel) -> float:
        """Return the sparsity at which each part reads and writes a single dimension."""
        budget = Budget(model)
        fewest = int(budget.kept([[1] * len(VECTORS)] * len(model.blocks)))
        return 1 - fewest / budget.all

    def largest_unit(self, model: LanguageModel) -> int:
        """Return the weights of the largest unit; if tied, a dimension is removed everywhere."""
        channels = VECTORS.index("channels")
        costs = self.costs(model).split(Budget(model).counts)
        largest = [int(part.max()) for part in costs]
        hidden = [cost for i, cost in enumerate(largest) if i % len(VECTORS) != channels]
        return max(*largest, sum(hidden) if self.tied else 0)

    def check(self, model: LanguageModel, calibration: Any) -> None:
        """Also check that every block has at least one channel."""
        super().check(model, calibration)
        if min(min(sizes) for sizes in Budget(model).sizes) == 0:
            raise BadInput(
                f"{self.slug()} needs MLP channels in every block, but one block of {model.name} "
                "has none; prune the dense model instead"
            )

    def prune(self, model: LanguageModel, calibration: Calibration) -> dict[str, Any]:
        """Train the gates, close those with the lowest logits up to the budget, and slice."""
        budget, stream = Budget(model), calibration.training
        assert stream is not None  # guaranteed by `check`
        shared = VECTORS.index("channels") if self.tied else None
        source = Logits(budget.sizes, self.hypernetwork, shared).to(model.device)
        losses = self.train(model, stream, source, budget)
        vectors = [vector.detach().cpu() for vector in source.own()]
        gates = [torch.bernoulli((vector + OPEN).sigmoid()) for vector in vectors]
        drawn = int(budget.kept(_open_gates([gates[number] for number in source.order])))
        likely = int(
            budget.kept(_open_gates([vectors[number] + OPEN >= 0 for number in source.order]))
        )
        kept = cut(vectors, source.order, budget, (1 - self.sparsity) * budget.all)
        parts = iter(kept)
        for block in model.visit():
            for kind in VECTORS:
                keep_units(block, kind, next(parts))
        widths = zip(*_open_gates(kept), strict=True)  # [5][blocks]
        return {
            "open_before_the_cut": {"drawn": drawn / budget.all, "likely": likely / budget.all},
            "widths": {k: [int(n) for n in row] for k, row in zip(VECTORS, widths, strict=True)},
            "course": training_course(losses, stream, self.batch),
        }

    def train(
        self, model: LanguageModel, stream: Stream, logits: Logits, budget: Budget
    ) -> list[float]:
        """Train the source of the logits; return the loss of every step."""
        target = (1 - self.sparsity) * budget.all
        plan = Plan(
            self.steps, self.learning_rate, self.batch, decay="none", weight_decay=0.05, clip=None
        )
        model.hf.requires_grad_(False)
        with gated(model, *VECTORS) as gates:

            def loss(ids: Tensor) -> Tensor:
                drawn = logits.draw(self.temperature)  # [units], 0 or 1
                gates.values = on_both_branches(drawn, budget)
                left = budget.kept(_open_gates(drawn.split(budget.counts)))
                return next_token_loss(model, ids) + self.strength * budget_loss(left, target)

            return optimise(logits.parameters(), loss, stream, plan)


class Budget:
    """Number of weights that remain in all blocks for a given number of open gates."""

    def __init__(self, model: LanguageModel) -> None:
        self.shapes: list[tuple[int, int, int]] = []
        """Per block: rows of q, k and v together, columns of o, layers that produce channels."""
        self.sizes: list[list[int]] = []
        """Number of gates in the five vectors of each block."""
        for block in model.blocks:
            attention, feed_forward = block.attention, block.feed_forward
            rows = sum(part.out_features for part in (attention.q, attention.k, attention.v))
            self.shapes.append((rows, attention.o.in_features, len(feed_forward.inner)))
            hidden = attention.o.out_features
            self.sizes.append([hidden, hidden, hidden, feed_forward.channels, hidden])
        self.counts = [size for row in self.sizes for size in row]
        self.all = int(self.kept(self.sizes))

    def kept(self, open_gates: Sequence[Sequence[Any]]) -> Any:
        """Return the weights kept for open gates `[blocks][5]`: numbers or one-element tensors."""
        total: Any = 0
        for (rows, columns, layers), (s1, s2, s3, s4, s5) in zip(
            self.shapes, open_gates, strict=True
        ):
            total = total + s1 * rows + s2 * columns + layers * s3 * s4 + s4 * s5
        return total


def on_both_branches(drawn: Tensor, budget: Budget) -> Tensor:
    """Return the factor of each unit, `[units]`: a channel's gate acts on both of its branches.

    The gate is therefore squared in their product (equation 3). For values of 0 and 1 this makes no
    difference in the forward pass, but it changes gradients: a closed channel has none.
    """
    twice = torch.tensor([1 + (kind == "channels") for kind in VECTORS]).repeat(len(budget.sizes))
    power = twice.repeat_interleave(torch.tensor(budget.counts))  # [units]
    return drawn ** power.to(drawn.device)


def cut(
    vectors: Sequence[Tensor], order: Sequence[int], budget: Budget, target: float
) -> list[Tensor]:
    """Mark the units to keep in each part; `order` maps each part to its vector of logits.

    Keeps the highest logits overall, as many as meet the budget. This is the same as adding one
    number to all logits and keeping gates with a probability of at least one half. The highest
    logit of a vector is always kept.
    """
    firm = [vector.index_fill(0, vector.argmax(), torch.inf) for vector in vectors]
    ranks = torch.cat(firm).argsort(stable=True).argsort()  # equal logits are ranked by position
    split = ranks.split([len(vector) for vector in vectors])

    def staying(removals: int) -> list[Tensor]:
        return [split[number] >= removals for number in order]

    def left(removals: int) -> int:
        return int(budget.kept(_open_gates(staying(removals))))

    low, high = 0, len(ranks) - len(vectors)
    while low < high:  # find the fewest removals that meet the target
        middle = (low + high) // 2
        low, high = (low, middle) if left(middle) <= target else (middle + 1, high)
    return staying(min((low, max(low - 1, 0)), key=lambda n: abs(left(n) - target)))


def _open_gates(parts: Sequence[Tensor]) -> list[list[Any]]:
    """Count the open gates of each vector, `[blocks][5]`."""
    sums = [part.sum() for part in parts]
    return [sums[i : i + len(VECTORS)] for i in range(0, len(sums), len(VECTORS))]
