"""Exact errors and solutions for one linear layer, with which tests compare those of a method."""

from __future__ import annotations

import torch
from torch import Tensor


def damped(gram: Tensor, damping: float = 0.01) -> Tensor:
    """Return a Gram matrix with a share of its mean diagonal added to the diagonal, fp64."""
    gram = gram.double()
    return gram + damping * gram.diagonal().mean() * torch.eye(len(gram))


def layer_error(before: Tensor, after: Tensor, gram: Tensor) -> float:
    """Return the squared change of a layer's outputs, fp64.

    The weights are `[out, in]`, and `gram` `[in, in]` is that of the inputs.
    """
    moved = before.double() - after.double()
    return float(((moved @ gram.double()) * moved).sum())


def least_squares(weight: Tensor, gram: Tensor, removed: Tensor) -> Tensor:
    """Return the weights with the lowest error under a mask, solved row by row, fp64."""
    gram, result = gram.double(), torch.zeros_like(weight, dtype=torch.float64)
    for row, kept in enumerate(~removed):
        target = gram[kept] @ weight[row].double()
        result[row, kept] = torch.linalg.solve(gram[kept][:, kept], target)
    return result
