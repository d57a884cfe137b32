"""Unit magnitude: KV groups and channels of small weights go, the structured magnitude baseline."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from implementations.harness import (
    Block,
    Capabilities,
    Cut,
    LanguageModel,
    Ratio,
    Tokens,
    UnitMethod,
    channel_cuts,
    kv_group_cuts,
    remove_units,
)


class UnitMagnitude(UnitMethod):
    """Remove the KV groups and channels whose weights have the smallest root mean square.

    Source: a baseline without a paper; `L2` in Table 1 of LLM-Pruner, arXiv:2305.11627.
    """

    capabilities = Capabilities(granularity=("kv-groups", "channels"), calibration="none")

    sparsity: Ratio = 0.2
    """Share of the decoder blocks' linear weights to remove."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Rank all units of the model by their weights, remove the lowest, return what is left."""
        scores = torch.cat([score(block).cpu() for block in model.visit()])  # [units]
        return remove_units(model, self.choose(model, scores))


def score(block: Block) -> Tensor:
    """Score the units of a block, fp64 `[kv groups + channels]`, the KV groups first."""
    attention, feed_forward = block.attention, block.feed_forward
    groups = root_mean_square(kv_group_cuts(attention), attention.kv_heads)
    channels = root_mean_square(channel_cuts(feed_forward), feed_forward.channels)
    return torch.cat([groups, channels])


def root_mean_square(cuts: list[Cut], units: int) -> Tensor:
    """Return `||w_u||_2 / sqrt(n_u)` of all `n_u` weights that go with a unit, fp64 `[units]`."""
    squares = torch.stack([squared_norms(cut, units) for cut in cuts])  # [layers, units]
    return (squares.sum(dim=0) / sum(cut.weights for cut in cuts)).sqrt()


def squared_norms(cut: Cut, units: int) -> Tensor:
    """Sum the squares of the rows or columns that each unit has in one layer, fp64 `[units]`."""
    own = cut.linear.weight.movedim(cut.dim, 0).reshape(units, cut.weights)  # a unit a row
    return own.double().square().sum(dim=1)
