"""Masks of groups: all candidates, those of one-shot methods, and layers that use them."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from implementations.harness import (
    ColumnNorm,
    Gram,
    LanguageModel,
    Tokens,
    factored_layers,
    sparse_solve,
    walk,
)

DAMPING = 0.01  # added to the diagonal of SparseGPT's Hessian, as a fraction of its mean


def all_masks(keep: int, group: int) -> Tensor:
    """Return all masks that keep `keep` of `group` weights, fp32 `[masks, group]`."""
    kept = itertools.combinations(range(group), keep)
    return torch.tensor([[float(i in places) for i in range(group)] for places in kept])


def one_shot(
    model: LanguageModel,
    calibration: Tokens,
    method: Literal["sparsegpt", "wanda", "magnitude"],
    lowest: Callable[[Tensor], Tensor],
    group: int,
) -> dict[nn.Linear, Tensor]:
    """Return the mask of every linear layer, boolean `[out, in]`, true where it keeps weights.

    `lowest` marks the scores to remove from every `group` of a row. The masks are those of the
    method run alone. The model does not change.
    """
    pruned = model if method == "magnitude" else copy.deepcopy(model)
    if method == "wanda":
        for block in walk(pruned, calibration):
            seen = block.observe(ColumnNorm)
            for role, linear in block.linears().items():
                scores = linear.weight.abs().float() * seen[role].norms  # |W_ij| ||X_j||_2
                linear.weight.masked_fill_(lowest(scores), 0)
    elif method == "sparsegpt":
        for block in walk(pruned, calibration):
            for _, linear, factor, silent in factored_layers(block, block.observe(Gram), DAMPING):
                solved = sparse_solve(linear.weight, factor, silent, lowest, 32 * group, group)
                linear.weight.copy_(solved)
    layers = [linear for _, _, linear in model.linears()]
    weights = [linear.weight.abs().float() for _, _, linear in pruned.linears()]
    return {linear: ~lowest(weight) for linear, weight in zip(layers, weights, strict=True)}


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
