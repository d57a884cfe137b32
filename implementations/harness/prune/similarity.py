"""How far the direction of a hidden state is turned on its way through a part of the model."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize


def turn(x: Tensor, y: Tensor) -> Tensor:
    """Return `1 - cos(x, y)`, fp64 `[...]`, of each token of `x` and `y [..., hidden]`."""
    # Half the squared distance of the two directions, and so exactly 0 for y = x.
    apart = normalize(x.double(), dim=-1) - normalize(y.double(), dim=-1)
    return apart.square().sum(dim=-1) / 2
