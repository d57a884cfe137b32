"""How far the direction of a hidden state is turned on its way through a part of the model."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize


def turn(x: Tensor, y: Tensor) -> Tensor:
    """Return `1 - cos(x, y)`, fp64 `[...]`, of each token of `x` and `y [..., hidden]`."""
    # Half the squared distance of the two directions, and so exactly 0 for y = x.
    apart = normalize(x.double(), dim=-1) - normalize(y.double(), dim=-1)
    return apart.square().sum(dim=-1) / 2


def angle(x: Tensor, y: Tensor) -> Tensor:
    """Return `arccos(cos(x, y)) / pi`, fp64 `[...]` in [0, 1], of each token `[..., hidden]`.

    By the half-angle formula, which keeps its digits where x and y almost agree. A token that is
    zero on one side counts as turned by a right angle.
    """
    one, other = (normalize(tokens.double(), dim=-1) for tokens in (x, y))
    return 2 * torch.atan2((one - other).norm(dim=-1), (one + other).norm(dim=-1)) / math.pi
