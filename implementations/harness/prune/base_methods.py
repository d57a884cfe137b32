"""Prune one block to given numbers of weights per layer, as methods that only set these need.

The numbers to remove, by role, come from `WeightMethod.counts`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from implementations.harness.model.view import Block
from implementations.harness.prune.allocation import apportion
from implementations.harness.prune.solvers import factored, sparse_solve
from implementations.harness.prune.walk import ColumnNorm, Gram, WalkedBlock
from implementations.harness.prune.weight_method import smallest_of_layer


def prune_by_magnitude(block: Block, counts: Mapping[str, int]) -> None:
    """Zero the smallest weights of each layer."""
    for role, linear in block.linears().items():
        removed = smallest_of_layer(linear.weight.abs(), "matrix", counts[role])
        linear.weight.masked_fill_(removed, 0)


def prune_by_input_norms(block: WalkedBlock, counts: Mapping[str, int]) -> None:
    """Zero the weights with the smallest `|W_ij| * ||X_j||_2` in each row, as Wanda does."""
    seen = block.observe(ColumnNorm)
    for role, linear in block.linears().items():
        scores = linear.weight.abs().float() * seen[role].norms  # [out, in]
        linear.weight.masked_fill_(smallest_of_layer(scores, "row", counts[role]), 0)


def prune_by_solving(
    block: WalkedBlock, counts: Mapping[str, int], block_size: int, damping: float
) -> None:
    """Prune each layer and update its remaining weights, as SparseGPT does.

    Every `block_size` columns lose the same share of their weights. `damping` is added to the
    diagonal of the Hessian, as a fraction of its mean.
    """
    grams = block.observe(Gram)
    for role, linear, factor, silent in factored(block, grams, damping):
        choose = _by_columns(linear.weight, block_size, counts[role])
        linear.weight.copy_(sparse_solve(linear.weight, factor, silent, choose, block_size))


def _by_columns(weight: Tensor, block_size: int, count: int) -> Callable[[Tensor], Tensor]:
    """Return a function that masks each block of columns in turn, `count` weights in all."""
    sizes = torch.tensor([part.numel() for part in weight.split(block_size, dim=1)])
    parts = iter(apportion(torch.ones(len(sizes)), sizes, count).tolist())
    return lambda costs: smallest_of_layer(costs, "matrix", next(parts))
