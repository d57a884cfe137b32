"""Masks of groups: all candidates, those of one-shot methods, and layers that use them."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from implementations.harness import (
    NM,
    LanguageModel,
    Tokens,
    prune_by_input_norms,
    prune_by_solving,
    smallest_per_group,
    walk,
)

DAMPING = 0.01  # added to the diagonal of SparseGPT's Hessian, as a fraction of its mean


def all_masks(pattern: NM) -> Tensor:
    """Return all masks of one group, fp32 `[masks, group]`, with 1 for the kept weights."""
    kept = itertools.combinations(range(pattern.group), pattern.keep)
    return torch.tensor([[float(i in places) for i in range(pattern.group)] for places in kept])


def one_shot(
    model: LanguageModel,
    calibration: Tokens,
    method: Literal["sparsegpt", "wanda", "magnitude"],
    pattern: NM,
) -> dict[nn.Linear, Tensor]:
    """Return the mask of every linear layer, boolean `[out, in]`, true where it keeps weights.

    The masks are those of the method run alone. The model does not change.
    """
    pruned = model if method == "magnitude" else copy.deepcopy(model)
    if method != "magnitude":
        for block in walk(pruned, calibration):
            if method == "wanda":
                prune_by_input_norms(block, pattern)
            else:
                prune_by_solving(block, pattern, 32 * pattern.group, DAMPING)
    layers = [linear for _, _, linear in model.linears()]
    weights = [linear.weight.abs().float() for _, _, linear in pruned.linears()]
    return {
        linear: ~smallest_per_group(weight, pattern)
        for linear, weight in zip(layers, weights, strict=True)
    }


@contextmanager
def masked_weights(masks: Mapping[nn.Linear, nn.Module]) -> Iterator[None]:
    """Context manager in which each linear layer computes with the weight that its module returns.

    The parameters stay the same objects. On exit they are back in their place, unchanged.
    """
    with ExitStack() as changes:
        for linear, module in masks.items():
            parametrize.register_parametrization(linear, "weight", module, unsafe=True)
            changes.callback(
                parametrize.remove_parametrizations, linear, "weight", leave_parametrized=False
            )
        yield
