"""Random units: remove KV groups and MLP channels at random, a baseline of structured pruning."""

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
    """Remove KV groups and MLP channels at random.

    Source: a baseline without a paper; `random` in Table 1 of LLM-Pruner, arXiv:2305.11627.
    """

    capabilities = Capabilities(granularity=("kv-groups", "channels"), calibration="none")

    sparsity: Ratio = 0.2
    """Share of the weights of the decoder's linear layers to remove."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Remove units at random; return the remaining widths."""
        return remove_units(model, self.draw(model))

    def draw(self, model: LanguageModel) -> Tensor:
        """Return a mask of the units to remove, `[units]`: in random order, up to the budget."""
        ranks = torch.rand(len(self.costs(model)), dtype=torch.float64)  # fp32 would give ties
        return self.choose(model, ranks)
