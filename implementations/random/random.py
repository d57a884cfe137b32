"""Random units: KV groups and channels go by lot, the floor of structured pruning."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from implementations.harness import (
    Capabilities,
    LanguageModel,
    Ratio,
    Tokens,
    UnitMethod,
    remove_units,
)


class Random(UnitMethod):
    """Remove KV groups and feed-forward channels by lot, whatever they hold.

    Source: a baseline without a paper; `random` in Table 1 of LLM-Pruner, arXiv:2305.11627.
    """

    capabilities = Capabilities(granularity=("kv-groups", "channels"), calibration="none")

    sparsity: Ratio = 0.2
    """Share of the decoder blocks' linear weights to remove."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Remove the units that are drawn, return the widths left."""
        return remove_units(model, self.draw(model))

    def draw(self, model: LanguageModel) -> Tensor:
        """Mark what goes, `[units]`: the first in an order by lot, until the budget is met."""
        lots = torch.rand(len(self.costs(model)), dtype=torch.float64)  # in fp32 some are equal
        return self.choose(model, lots)
