"""How much a block changes the direction of the hidden state of a token."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize


def cosine_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return `1 - cos(x, y)` for each token of `x` and `y [..., hidden]`, fp64 `[...]`."""
    # Half the squared distance of the unit vectors, so exactly 0 for y = x.
    difference = normalize(x.double(), dim=-1) - normalize(y.double(), dim=-1)
    return difference.square().sum(dim=-1) / 2


def angle(x: Tensor, y: Tensor) -> Tensor:
    """Return `arccos(cos(x, y)) / pi` of each token `[..., hidden]`, fp64 `[...]` in [0, 1].

    Uses the half-angle formula, which stays accurate when x and y are almost equal. If one of x and
    y is zero, the angle counts as a right angle.
    """
    one, other = (normalize(tokens.double(), dim=-1) for tokens in (x, y))
    return 2 * torch.atan2((one - other).norm(dim=-1), (one + other).norm(dim=-1)) / math.pi
