"""Taylor importance: how far the loss moves when weights become zero, told from gradients.

Taking the weights `w` away changes the loss by `-g.w + w^T H w / 2`, to second order. Of the
Hessian only the diagonal is at hand, as the mean square of the samples' gradients. From a number
for every weight, its salience, to one for a unit there are two ways: a row or column may count as
one vector, inside which saliences of opposite sign cancel, or weight by weight.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from implementations.harness.model.units import Kind, cuts
from implementations.harness.model.view import Block


def saliences(
    block: Block, gradients: Mapping[str, Tensor], squares: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Return `g w - F w^2 / 2` of the weights of each layer, `[out, in]`, by role.

    That is how far the loss falls when one becomes zero. `gradients` and `squares` are by the
    weights, `[out, in]`; without squares `F` the salience is `g w`, to first order.
    """
    found = {}
    for role, gradient in gradients.items():
        weight = block.linears()[role].weight
        found[role] = weight * gradient
        if squares is not None:
            found[role] -= squares[role] * weight.square() / 2
    return found


def vector_scores(
    block: Block, kind: Kind, salience: Mapping[str, Tensor], *, whole: bool
) -> Tensor:
    """Score the rows and columns that go with the units of a kind, fp64 `[layers, units, width]`.

    `salience` holds `[out, in]` for every layer, by role. A row or column is worth the size of its
    sum if taken as a `whole`, else the sum of the sizes. Layers are in the order of the forward
    pass. Those of query heads that share a key head are added up place by place, so that every
    layer has as many vectors a unit: the head size, or one for channels.
    """
    roles = {linear: role for role, linear in block.linears().items()}
    scores = []
    for part in cuts(block, kind):
        own = part.owned(salience[roles[part.linear]]).double()  # [units, width, other dimension]
        scores.append(own.sum(dim=-1).abs() if whole else own.abs().sum(dim=-1))
    width = max(1, min(score.shape[1] for score in scores))  # 0 where no unit is left
    return torch.stack([score.unflatten(1, (-1, width)).sum(dim=1) for score in scores])
