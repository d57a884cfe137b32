"""Distribute a budget, counted in weights, over units of different costs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from implementations.harness.errors import BadInput, NumericsError


def cheapest(scores: Tensor, costs: Tensor, share: float) -> Tensor:
    """Mark the units with the lowest scores whose costs together are nearest to the budget.

    `scores` and `costs` are `[units]`, the budget is `share` of all costs, and the result is
    boolean `[units]`. The error is at most half of the last unit; ties go to the earlier unit.
    Raises `NumericsError` for NaN.
    """
    if scores.isnan().any():
        raise NumericsError("the scores contain NaN; check the weights and the calibration data")
    order = torch.argsort(scores, stable=True)
    spent = costs.to(order.device)[order].double().cumsum(dim=0)
    spent = torch.cat([spent.new_zeros(1), spent])  # [units + 1]: after removing none, one, ...
    misses = (spent - share * spent[-1]).abs()
    near = misses <= misses.min() + 1e-12 * spent[-1]  # tolerates rounding
    count = int(near.nonzero()[0])  # the smaller of two equally near counts
    removed = torch.zeros_like(scores, dtype=torch.bool)
    removed[order[:count]] = True
    return removed


def standardise(scores: Tensor) -> Tensor:
    """Shift and scale the scores of one layer, `[units]`, to mean 0 and standard deviation 1.

    Scores that are all equal become 0.
    """
    if len(scores) < 2 or scores.min() == scores.max():
        return torch.zeros_like(scores)  # the deviation would be 0 or undefined
    return (scores - scores.mean()) / scores.std()


def widths(
    counts: Tensor,
    costs: Tensor,
    shares: Tensor,
    budget: float,
    least: int = 0,
    scores: Sequence[Sequence[Tensor] | None] | None = None,
) -> Tensor:
    """Return the number of units that every block loses, `[kinds, blocks]`.

    Blocks lose in proportion to `shares [blocks]`, and within a block every kind of unit loses the
    same share; the shares are scaled so that `budget` weights are removed in total. There are
    `counts [kinds, blocks]` units of `costs [kinds, blocks]` weights each; every block keeps
    `least` of each kind. If a kind has `scores`, `[units]` per block, `whole_units` selects the
    blocks that lose the units left over by rounding; otherwise each remainder is carried over to
    the next block. Kinds of higher cost come first, and the kind of the lowest cost takes the rest
    of the budget, so the error is at most half a unit as long as that kind has room.
    """
    most = (counts - least).clamp(min=0)
    weights = (counts * costs).double()  # [kinds, blocks]
    taken = capped(shares.double() * weights.sum(dim=0), budget, (most * costs).sum(dim=0).double())
    share = taken / weights.sum(dim=0).clamp(min=1)  # [blocks]
    removed = torch.zeros_like(counts)
    order = costs.sum(dim=1).argsort(descending=True, stable=True).tolist()
    for position, kind in enumerate(order):
        room = (most[kind] * costs[kind]).double()
        wanted = torch.minimum(share * weights[kind], room)
        if position == len(order) - 1:
            left = budget - float((removed * costs).sum())
            wanted = capped(share * weights[kind], left, room)
        of_kind = scores[kind] if scores else None
        if of_kind is None:
            removed[kind] = carried(wanted, costs[kind], most[kind])
        else:
            removed[kind] = whole_units(wanted, costs[kind], of_kind)
    return removed


def apportion(shares: Tensor, sizes: Tensor, total: int) -> Tensor:
    """Split `total` into integers in proportion to `shares * sizes [n]`, each at most its size.

    If one reaches its size, the others take the rest. Rounding errors are carried over to the next,
    so the sum is `total`, or that of all sizes if `total` is larger.
    """
    amounts = capped(shares.double() * sizes, total, sizes.double())
    return carried(amounts, torch.ones_like(sizes), sizes)


def between_ends(blocks: int, first: float, last: float) -> Tensor:
    """Mark all blocks except the first and the last ones, boolean `[blocks]`.

    `first` and `last` are shares of `blocks`, rounded. Raises `BadInput` if no block is left.
    """
    start, stop = round(first * blocks), blocks - round(last * blocks)
    if start >= stop:
        raise BadInput(
            f"first={first:g} and last={last:g} skip all {blocks} blocks; use smaller values"
        )
    places = torch.arange(blocks)
    return (places >= start) & (places < stop)


def capped(amounts: Tensor, total: float, most: Tensor) -> Tensor:
    """Scale `amounts [n]` to the sum `total`, each at most `most [n]`, fp64.

    Excess is distributed over the others in proportion to their amounts and, if all nonzero amounts
    have reached their maximum, over the rest in proportion to `most`. If `total` is larger than all
    of `most`, the result is `most`.
    """
    full = torch.zeros_like(amounts, dtype=torch.bool)
    amounts = amounts.double()
    while not bool(full.all()):
        if not bool(amounts[~full].sum() > 0):
            amounts = torch.where(full, amounts, most.double())
        asked = amounts[~full].sum()
        if asked == 0:
            break
        scaled = amounts * ((total - most[full].sum()).clamp(min=0) / asked)
        over = ~full & (scaled > most)
        if not bool(over.any()):
            return torch.where(full, most.double(), scaled)
        full |= over
    return most.double()


def whole_units(amounts: Tensor, costs: Tensor, scores: Sequence[Tensor]) -> Tensor:
    """Round `amounts [blocks]` of weights to whole units `[blocks]` of `costs [blocks]` weights.

    Every amount is rounded down. The sum of the remainders gives some more units, at most one per
    block, to the blocks whose next unit has the lowest of `scores` (one tensor `[units]` per
    block), relative to the mean of the block. The error of the sum is at most half a unit.
    """
    exact = amounts.double() / costs.clamp(min=1)
    counts = (exact + 1e-9).floor().long()
    rests = (exact - counts).clamp(min=0)
    partial = rests > 1e-9
    if not bool(partial.any()):
        return counts
    following = torch.stack(
        [
            relative(units)[count] if more else torch.zeros((), dtype=torch.float64)
            for units, count, more in zip(scores, counts.tolist(), partial.tolist(), strict=True)
        ]
    )
    left = float((rests * costs)[partial].sum() / costs[partial].sum())
    counts[partial] += cheapest(following[partial], costs[partial], left)
    return counts


def relative(scores: Tensor) -> Tensor:
    """Return `scores [units]` in ascending order, divided by their mean absolute value, fp64."""
    ascending = scores.detach().double().cpu().sort().values
    mean = ascending.abs().mean()
    return ascending / mean if mean > 0 else ascending


def carried(amounts: Tensor, costs: Tensor, most: Tensor) -> Tensor:
    """Round `amounts [n]` of weights to whole units `[n]` of `costs [n]`, at most `most [n]`.

    Each rounding error is carried over to the next amount, so that the sum stays close.
    """
    counts = torch.zeros_like(most)
    owed = 0.0
    for i, (amount, cost) in enumerate(zip(amounts.tolist(), costs.tolist(), strict=True)):
        owed += amount
        if cost:
            counts[i] = min(max(round(owed / cost), 0), int(most[i]))
            owed -= int(counts[i]) * cost
    return counts
