"""What MaskPrune does to masks: order, press and weigh them, and fold in what is left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from implementations.harness import Gates, Kind, LanguageModel, cuts, smallest

HELD = 0.8  # what all masks are while they are sorted, and the least of them afterwards


def by_order(slopes: Tensor) -> Tensor:
    """Return masks in the order of `slopes [blocks, units]`, in equal steps from `HELD` to 1."""
    ranks = slopes.argsort(dim=1, stable=True).argsort(dim=1)
    return HELD + (1 - HELD) * (ranks + 1) / max(slopes.shape[1], 1)


def bottom(masks: Tensor, count: int) -> Tensor:
    """Return the `count` smallest absolute masks of each row of `[blocks, units]`, ascending."""
    return masks.abs().sort(dim=1).values[:, :count]


def press(masks: Tensor, count: int, amount: Tensor) -> None:
    """Divide the `count` smallest of each row by `1 + 2 amount [blocks]`, in place.

    That is the proximal step of `amount` times the sum of their squares, which ones they are
    being held fixed.
    """
    pressed = smallest(masks.abs(), count)
    shrunk = masks / (1 + 2 * amount.to(masks.device))[:, None]
    masks.copy_(torch.where(pressed, shrunk, masks))


def marginal(masks: Tensor, count: int, pressure: Tensor) -> Tensor:
    """Return what one more unit in every layer would add: the mean over the blocks.

    The multiplier of a layer times the square of its next smallest mask.
    """
    following = bottom(masks, count + 1)[:, -1].cpu() if masks.shape[1] else torch.zeros(1)
    return (pressure * following.square()).mean()


def fold(model: LanguageModel, masks: Sequence[Tensor], kinds: Sequence[Kind]) -> None:
    """Multiply masks `[blocks, units]` of each kind into the layers that their units enter."""
    for block in model.visit():
        for kind, values in zip(kinds, masks, strict=True):
            for linear, dim, places in cuts(block, kind):
                if dim == 1:
                    factor = values[block.index].repeat_interleave(places.shape[1])  # [in]
                    linear.weight[:, places.flatten()] *= factor.to(linear.weight.dtype)


@contextmanager
def dense(gates: Gates, factors: Sequence[nn.Parameter]) -> Iterator[None]:
    """Let the model be the dense one inside the `with` block: without masks and factors."""
    held, gates.values = gates.values, None
    kept = [factor.clone() for factor in factors]
    for factor in factors:
        factor.zero_()
    try:
        yield
    finally:
        gates.values = held
        for factor, values in zip(factors, kept, strict=True):
            factor.copy_(values)
