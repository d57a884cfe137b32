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
    Gram,
    LanguageModel,
    Tokens,
    factored_layers,
    prune_by_input_norms,
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

    For magnitude and Wanda, it is that of the method run alone. SparseGPT's scores are those of the
    dense weights on dense inputs, without its updates. The model does not change.
    """
    if method == "sparsegpt":
        masks = {}
        for block in walk(model, calibration, edits=False):
            factored = factored_layers(block, block.observe(Gram), DAMPING)
            for _, linear, U, silent in factored:
                costs = (linear.weight.float() / U.diagonal()).square().masked_fill(silent, 0)
                masks[linear] = ~smallest_per_group(costs, pattern)
        return masks
    pruned = model
    if method == "wanda":
        pruned = copy.deepcopy(model)
        for block in walk(pruned, calibration):
            prune_by_input_norms(block, pattern)
    pairs = zip(model.linears(), pruned.linears(), strict=True)
    return {
        linear: ~smallest_per_group(other.weight.abs().float(), pattern)
        for (_, _, linear), (_, _, other) in pairs
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
