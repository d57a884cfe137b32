"""The masks of MaskPrune (rank, shrink, penalise, fold into the weights) and its LoRA factors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from implementations.harness import Gates, Kind, LanguageModel, cuts, low_rank

HELD = 0.8  # value of all masks during sorting, and lower bound of their values right after it


def by_order(slopes: Tensor) -> Tensor:
    """Return masks ranked by `slopes [blocks, units]`, in equal steps from `HELD` to 1."""
    ranks = slopes.argsort(dim=1, stable=True).argsort(dim=1)
    return HELD + (1 - HELD) * (ranks + 1) / max(slopes.shape[1], 1)


def membership(masks: Tensor, width: float) -> Tensor:
    """Return how far each of `masks [blocks, units]` counts among the `width` smallest of its row.

    Values are between 0 and 1. At a width of 1.25 the smallest mask gets 1 and the next one 0.25.
    """
    ranks = masks.abs().argsort(dim=1, stable=True).argsort(dim=1)
    return (width - ranks).clamp(0, 1)


def bottom(masks: Tensor, width: float) -> Tensor:
    """Return the sum of squares of the `width` smallest masks of each row, `[blocks]`."""
    return (membership(masks, width) * masks.square()).sum(dim=1)


def shrink(masks: Tensor, width: float, amount: Tensor) -> None:
    """Divide the `width` smallest masks of each row by `1 + 2 amount [blocks]`, in place.

    This is the proximal step of `amount` times `bottom`, for a fixed set of smallest masks.
    """
    masks /= 1 + 2 * amount.to(masks.device)[:, None] * membership(masks, width)


def marginal(masks: Tensor, width: float, pressure: Tensor) -> Tensor:
    """Return the derivative of `pressure` times `bottom` by the width, averaged over the blocks.

    For one block it is the multiplier times the square of the next smallest mask.
    """
    units = masks.shape[1]
    if not units:
        return torch.zeros(())
    following = masks.abs().sort(dim=1).values[:, min(int(width), units - 1)].cpu()
    return (pressure * following.square()).mean()


def fold(model: LanguageModel, masks: Sequence[Tensor], kinds: Sequence[Kind]) -> None:
    """Multiply masks `[blocks, units]` of each kind into the layers that read their units."""
    for block in model.visit():
        for kind, values in zip(kinds, masks, strict=True):
            for linear, dim, places in cuts(block, kind):
                if dim == 1:
                    factor = values[block.index].repeat_interleave(places.shape[1])  # [in]
                    linear.weight[:, places.flatten()] *= factor.to(linear.weight.dtype)


@contextmanager
def dense(gates: Gates, factors: Sequence[nn.Parameter]) -> Iterator[None]:
    """Context manager that restores the dense model: without masks and LoRA factors."""
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


@contextmanager
def lora_factors(model: LanguageModel, rank: int, scale: float) -> Iterator[list[nn.Parameter]]:
    """Add LoRA factors to the model, none if the rank is 0, and freeze all other parameters."""
    if rank:
        with low_rank(model, rank, scale) as factors:
            yield factors
    else:
        model.hf.requires_grad_(False)
        yield []
