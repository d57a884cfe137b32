"""Taylor importance: estimate from gradients how removing weights changes the loss.

To second order, removing the weights `w` changes the loss by `-g.w + w^T H w / 2`. The diagonal of
the Hessian is approximated by the mean square of the samples' gradients. The saliences of single
weights are combined into scores of units in one of two ways: a row or column counts as one vector,
in which saliences of opposite sign cancel, or weight by weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor

from implementations.harness.data.tokens import Tokens
from implementations.harness.model.units import Kind, cuts
from implementations.harness.model.view import Block, LanguageModel
from implementations.harness.prune.backwalk import backwalk


def gradient_norms(
    model: LanguageModel, calibration: Tokens, norm: Literal["l1", "l2"], *, edits: bool = True
) -> Iterator[tuple[Block, dict[str, Tensor]]]:
    """Yield the blocks from the last to the first, with norms of gradients over the samples.

    For each weight, `l1` is the sum of the absolute gradients of all samples, `l2` the root of the
    sum of their squares, so opposite gradients do not cancel. The norms are `[out, in]` by role,
    fp32 or wider, and stay those of the original model if blocks are edited; with `edits=False`
    they must not be.
    """
    samples, roles, first = len(calibration.ids), model.blocks[0].linears(), norm == "l1"
    for block in backwalk(
        model, calibration, gradients=roles, absolutes=first, squares=not first, edits=edits
    ):
        means = block.absolutes if first else block.squares
        totals = {role: samples * mean for role, mean in means.items()}
        yield block, totals if first else {role: total.sqrt() for role, total in totals.items()}


def norms_on_host(
    norms: Iterable[tuple[Block, dict[str, Tensor]]],
) -> dict[int, dict[str, Tensor]]:
    """Run through `gradient_norms` and keep the norms of all blocks on the host, by index."""
    return {block.index: {role: norm.cpu() for role, norm in own.items()} for block, own in norms}


def saliences(
    block: Block, gradients: Mapping[str, Tensor], squares: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Return `g w - F w^2 / 2` of the weights of each layer, `[out, in]`, by role.

    This is the decrease of the loss if the weight becomes zero. `gradients` and `squares` are those
    of the weights, `[out, in]`; without the squares `F` it is the first-order term `g w`.
    """
    result = {}
    for role, gradient in gradients.items():
        weight = block.linears()[role].weight
        result[role] = weight * gradient
        if squares is not None:
            result[role] -= squares[role] * weight.square() / 2
    return result


def vector_scores(
    block: Block, kind: Kind, salience: Mapping[str, Tensor], *, whole: bool
) -> Tensor:
    """Score the rows and columns of the units of a kind, fp64 `[layers, units, width]`.

    `salience` has `[out, in]` for every layer, by role. The score of a row or column is the
    absolute value of its sum if `whole`, otherwise the sum of its absolute values. Layers are in
    the order of the forward pass. Rows of query heads that share a key head are added, so that
    every layer has the same number of vectors per unit: the head size, or one for channels.
    """
    roles = {linear: role for role, linear in block.linears().items()}
    scores = []
    for part in cuts(block, kind):
        own = part.owned(salience[roles[part.linear]]).double()  # [units, width, other dimension]
        scores.append(own.sum(dim=-1).abs() if whole else own.abs().sum(dim=-1))
    width = max(1, min(score.shape[1] for score in scores))  # 0 without units
    return torch.stack([score.unflatten(1, (-1, width)).sum(dim=1) for score in scores])
