"""Cosine distance between hidden states."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize


def cosine_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return `1 - cos(x, y)` for each token of `x` and `y [..., hidden]`, fp64 `[...]`."""
    # Half the squared distance of the unit vectors, so exactly 0 for y = x.
    difference = normalize(x.double(), dim=-1) - normalize(y.double(), dim=-1)
    return difference.square().sum(dim=-1) / 2
