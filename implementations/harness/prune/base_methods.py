"""Prune one block to given numbers of weights per layer or to a pattern, by one of three methods.

For methods such as OWL, AlphaPruning and DenoiseRotator, which choose layer sparsities or rotate
the weights first and then prune in one of these ways. The numbers to remove, by role, come from
`WeightMethod.counts`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from implementations.harness.model.view import Block
from implementations.harness.prune.allocation import apportion
from implementations.harness.prune.solvers import factored_layers, sparse_solve
from implementations.harness.prune.statistics import ColumnNorm, Gram
from implementations.harness.prune.walk import WalkedBlock
from implementations.harness.prune.weight_method import NM, smallest_of_layer, smallest_per_group

Removal = Mapping[str, int] | NM
"""The number of weights that each layer loses, by role, or a pattern."""


def prune_by_magnitude(block: Block, removal: Removal) -> None:
    """Zero the smallest weights of each layer."""
    for role, linear in block.linears().items():
        removed = _lowest(linear.weight.abs(), "matrix", removal, role)
        linear.weight.masked_fill_(removed, 0)


def prune_by_input_norms(block: WalkedBlock, removal: Removal) -> None:
    """Zero the weights with the smallest `|W_ij| * ||X_j||_2` in each row, as Wanda does."""
    seen = block.observe(ColumnNorm)
    for role, linear in block.linears().items():
        scores = linear.weight.abs().float() * seen[role].norms  # [out, in]
        linear.weight.masked_fill_(_lowest(scores, "row", removal, role), 0)


def prune_by_solving(block: WalkedBlock, removal: Removal, block_size: int, damping: float) -> None:
    """Prune each layer and update its remaining weights, as SparseGPT does.

    Every `block_size` columns lose the same share of their weights. `damping` is added to the
    diagonal of the Hessian, as a fraction of its mean.
    """
    grams = block.observe(Gram)
    group = removal.group if isinstance(removal, NM) else None
    for role, linear, factor, silent in factored_layers(block, grams, damping):
        choose = _chooser(linear.weight, block_size, removal, role)
        linear.weight.copy_(sparse_solve(linear.weight, factor, silent, choose, block_size, group))


def _lowest(
    scores: Tensor, within: Literal["row", "matrix"], removal: Removal, role: str
) -> Tensor:
    """Mark the lowest `scores [out, in]` of a layer, boolean `[out, in]`."""
    if isinstance(removal, NM):
        return smallest_per_group(scores, removal)
    return smallest_of_layer(scores, within, removal[role])


def _chooser(
    weight: Tensor, block_size: int, removal: Removal, role: str
) -> Callable[[Tensor], Tensor]:
    """Return a function that marks the lowest costs of each group or block of columns in turn."""
    if isinstance(removal, NM):
        return partial(smallest_per_group, pattern=removal)
    sizes = torch.tensor([part.numel() for part in weight.split(block_size, dim=1)])
    parts = iter(apportion(torch.ones(len(sizes)), sizes, removal[role]).tolist())
    return lambda costs: smallest_of_layer(costs, "matrix", next(parts))
