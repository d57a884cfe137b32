"""ShortGPT: drop blocks that rotate the hidden state least (Men et al., Findings of ACL 2025)."""

from __future__ import annotations

from typing import Any

import torch

from implementations.harness import (
    Capabilities,
    LanguageModel,
    Ratio,
    Tokens,
    UnitMethod,
    cosine_distance,
    remove_blocks,
    walk,
)


class ShortGPT(UnitMethod):
    """Remove the decoder layers with the lowest Block Influence, ranked once on the dense model.

    Source: Men et al., arXiv:2403.03853, Section 3.
    """

    capabilities = Capabilities(granularity=("blocks",), calibration="forward", parallel=True)

    sparsity: Ratio = 0.25
    """Share of the weights in the decoder's linear layers to remove, rounded to whole
    decoder layers."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Remove the blocks of lowest influence; return all influences and the removed blocks."""
        influences = []
        for block in walk(model, calibration, edits=False):
            influences.append(block.token_mean(cosine_distance))  # all tokens count equally
        lowest = self.choose(model, torch.tensor(influences, dtype=torch.float64))
        removed = lowest.nonzero().flatten().tolist()
        remove_blocks(model, removed)
        return {"influence": influences, "removed": removed}
