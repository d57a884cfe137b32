"""Spreading a budget over units of different cost; budgets are counted in parameters."""

from __future__ import annotations

import torch
from torch import Tensor


def cheapest(scores: Tensor, costs: Tensor, share: float) -> Tensor:
    """Mark the units to remove: the lowest scores whose costs together come nearest the budget.

    `scores` and `costs` are `[units]`, the budget is `share` of all costs; the result is boolean
    `[units]`. It misses the budget by at most half of the unit at the border; ties go to the
    earlier unit.
    """
    order = torch.argsort(scores, stable=True)
    spent = costs.to(order.device)[order].double().cumsum(dim=0)
    spent = torch.cat([spent.new_zeros(1), spent])  # [units + 1]: after removing none, one, ...
    misses = (spent - share * spent[-1]).abs()
    near = misses <= misses.min() + 1e-12 * spent[-1]  # rounding must not take the last unit
    count = int(near.nonzero()[0])  # the fewer of two that miss alike
    removed = torch.zeros_like(scores, dtype=torch.bool)
    removed[order[:count]] = True
    return removed
