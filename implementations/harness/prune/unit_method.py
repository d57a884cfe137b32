"""Base class of methods that remove whole units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor

from implementations.harness.data.tokens import Tokens
from implementations.harness.model.surgery import keep_units
from implementations.harness.model.units import (
    Kind,
    total_weights,
    unit_costs,
    widths_left,
)
from implementations.harness.model.view import LanguageModel, require_whole_layers
from implementations.harness.prune.allocation import cheapest, widths
from implementations.harness.prune.method import (
    Method,
    Ratio,
)
from implementations.harness.prune.weight_method import smallest


class UnitMethod(Method):
    """A method that removes whole units, with a budget in weights of the blocks' linear layers."""

    least: ClassVar[int] = 0
    """Number of units of each kind that remain in every decoder layer."""
    sparsity: Ratio = 0.2
    """Share of the weights in the decoder's linear layers to remove, as whole units."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Check also that the layers hold all of their rows and columns."""
        super().check(model, calibration)
        if self.capabilities.granularity != ("blocks",):
            require_whole_layers(model, self.slug())

    def costs(self, model: LanguageModel) -> Tensor:
        """Return the number of weights of every removable unit, `[units]`, block by block."""
        return torch.cat([unit_costs(block, *self.kinds) for block in model.blocks])

    def together(self, model: LanguageModel) -> int:
        """Return the number of units that `widths` removes together."""
        return 1

    def taking_part(self, model: LanguageModel) -> Tensor:
        """Mark the blocks from which `widths` may remove units, boolean `[blocks]`."""
        return torch.ones(len(model.blocks), dtype=torch.bool)

    def largest_unit(self, model: LanguageModel) -> int:
        """Return the number of weights of the largest unit, or group of units removed together.

        The budget is met within half of it.
        """
        return _largest(self.costs(model)) * self.together(model)

    def rate(self, model: LanguageModel) -> float:
        """Return the budget as a share of the weights of all removable units.

        It is above `sparsity` if some weights cannot be removed, and above 1 if the budget cannot
        be met.
        """
        return self.sparsity * total_weights(model) / max(int(self.costs(model).sum()), 1)

    def choose(self, model: LanguageModel, scores: Tensor) -> Tensor:
        """Mark the units to remove: those with the lowest `scores [units]`, up to the budget.

        `scores` has the order of `costs`. The budget is a share of all weights of the blocks'
        linear layers, including those that cannot be removed. The result is boolean `[units]`.
        """
        return cheapest(scores, self.costs(model), self.rate(model))

    def budget(self, model: LanguageModel) -> float:
        """Return the number of weights of the blocks' linear layers to remove."""
        return self.sparsity * total_weights(model)

    def widths(
        self,
        model: LanguageModel,
        shares: Sequence[float] | Tensor,
        scores: Mapping[Kind, Sequence[Tensor]] | None = None,
        budget: float | None = None,
    ) -> list[list[int]]:
        """Return the number of units of each kind that every block loses, `[blocks][kinds]`.

        Blocks that are `taking_part` lose in proportion to `shares [blocks]`, and within a block
        every kind loses the same share. Each block keeps `least` units of a kind (times
        `together`). Rounding leaves some units over; the `scores` of a kind, `[units]` per block,
        choose the blocks that lose these: those whose next unit scores lowest relative to the
        block. Omit only kinds of which one unit is a small part of a block, such as channels. Pass
        the `budget` in weights if layers were added to the model after it was counted. See
        `allocation.widths`.
        """
        counts, costs = self.counts_and_costs(model)
        budget = self.budget(model) if budget is None else budget
        group = self.together(model)
        given = scores or {}
        by_kind = [
            [_grouped(units, group) for units in given[kind]] if kind in given else None
            for kind in self.kinds
        ]
        lost = widths(counts, costs, torch.as_tensor(shares), budget, self.least, by_kind)
        return cast(list[list[int]], (lost.T * group).tolist())

    def remove_lowest(
        self, model: LanguageModel, scores: Sequence[Sequence[Tensor]]
    ) -> dict[str, list[int]]:
        """Remove the units with the lowest scores and return the remaining widths.

        Every block loses the same share. `scores` has a list per block, with the scores `[units]`
        of each kind in the order of `kinds`.
        """
        by_kind: dict[Kind, Sequence[Tensor]] = {
            kind: [of_block[place] for of_block in scores]
            for place, kind in enumerate(self.kinds)
            if kind != "channels"  # so small that a remainder passes to the next block
        }
        lost = self.widths(model, torch.ones(len(scores)), by_kind)
        for block, of_block, counts in zip(model.visit(), scores, lost, strict=True):
            for kind, units, count in zip(self.kinds, of_block, counts, strict=True):
                if count:
                    keep_units(block, kind, ~smallest(units, count))
        return widths_left(model)

    def max_sparsity(self, model: LanguageModel) -> float:
        """Return the maximum sparsity that leaves `least` units, and half of the largest unit."""
        counts, costs = self.counts_and_costs(model)
        total = total_weights(model)
        removable = int(((counts - self.least).clamp(min=0) * costs).sum())
        return min(removable, total - self.largest_unit(model) / 2) / total

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of units that it removes."""
        return cast(tuple[Kind, ...], self.capabilities.granularity)

    def counts_and_costs(self, model: LanguageModel) -> tuple[Tensor, Tensor]:
        """Return number and cost of the removable units of each kind, `[kinds, blocks]` each.

        A cost is the number of weights of one unit. Units removed together count as one.
        """
        costs = [[unit_costs(block, kind) for block in model.blocks] for kind in self.kinds]
        together = self.together(model)
        counts = torch.tensor([[len(units) // together for units in row] for row in costs])
        return (
            counts * self.taking_part(model),
            torch.tensor([[_largest(units) * together for units in row] for row in costs]),
        )


def _grouped(scores: Tensor, together: int) -> Tensor:
    """Sum the scores of units that are removed together, lowest first, `[groups]`."""
    if together == 1:
        return scores
    whole = len(scores) // together * together
    return scores.sort().values[:whole].view(-1, together).sum(dim=1)


def _largest(costs: Tensor) -> int:
    return int(costs.max()) if len(costs) else 0
