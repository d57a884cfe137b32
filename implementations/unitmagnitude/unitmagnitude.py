"""Unit magnitude: the structured magnitude baseline for KV groups and MLP channels."""

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
    cuts,
    remove_units,
)


class UnitMagnitude(UnitMethod):
    """Remove the KV groups and MLP channels whose weights have the smallest root mean square.

    Source: a baseline without a paper; `L2` in Table 1 of LLM-Pruner, arXiv:2305.11627.
    """

    capabilities = Capabilities(granularity=("kv-groups", "channels"), calibration="none")

    sparsity: Ratio = 0.2
    """Share of the weights in the decoder's linear layers to remove."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Rank all units of the model by weight, remove the lowest, return the remaining widths."""
        scores = torch.cat([score(block).cpu() for block in model.visit()])  # [units]
        return remove_units(model, self.choose(model, scores))


def score(block: Block) -> Tensor:
    """Score the units of a block, fp64 `[kv groups + channels]`, the KV groups first."""
    return torch.cat([root_mean_square(cuts(block, kind)) for kind in ("kv-groups", "channels")])


def root_mean_square(parts: list[Cut]) -> Tensor:
    """Return `||w_u||_2 / sqrt(n_u)` over all `n_u` weights of each unit, fp64 `[units]`."""
    squares = torch.stack([squared_norms(part) for part in parts])  # [layers, units]
    counts = torch.stack([part.costs() for part in parts]).to(squares.device)
    return (squares.sum(dim=0) / counts.sum(dim=0)).sqrt()


def squared_norms(part: Cut) -> Tensor:
    """Sum the squares of the rows or columns that each unit owns in one layer, fp64 `[units]`."""
    return part.owned(part.linear.weight).double().square().sum(dim=(1, 2))
