"""SLEB: remove blocks one by one, each time the one whose absence costs least (Song et al., 2024).

In each round, every remaining block is bypassed in turn and the language-model loss is measured on
a little text. The block without which it is lowest is removed, and the next round measures all
others again without it: two blocks that are each dispensable need not be dispensable together.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from implementations.harness import (
    BadInput,
    Candidates,
    Capabilities,
    Count,
    LanguageModel,
    Ratio,
    Tokens,
    UnitMethod,
    Whole,
    masked,
    perplexity,
    remove_blocks,
    track,
)


class SLEB(UnitMethod):
    """Remove decoder layers greedily by the language-model loss without them.

    Source: Song et al., arXiv:2402.09025, and the official code.
    """

    capabilities = Capabilities(granularity=("blocks",), calibration="forward")
    tiny_settings: ClassVar[dict[str, Any]] = {"early": 0, "late": 0, "samples": 2}

    sparsity: Ratio = 0.2
    """Share of the weights in the decoder's linear layers to remove, as whole decoder layers."""
    early: Whole = 1
    """Number of decoder layers at the start that are never removed."""
    late: Whole = 1
    """Number of decoder layers at the end that are never removed."""
    samples: Count = 5
    """Number of calibration windows on which the loss is measured."""

    def taking_part(self, model: LanguageModel) -> Tensor:
        """Mark the blocks that may be removed, boolean `[blocks]`."""
        blocks = torch.arange(len(model.blocks))
        return (blocks >= self.early) & (blocks < len(blocks) - self.late)

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Check also that the text suffices and that blocks have equal size."""
        super().check(model, calibration)
        if calibration is not None and len(calibration.ids) < self.samples:
            raise BadInput(
                f"sleb measures losses on {self.samples} windows of the calibration set, which has "
                f"only {len(calibration.ids)}; set samples lower, or use more text"
            )
        if len(set(self.costs(model).tolist())) > 1:
            raise BadInput(
                "sleb needs blocks of equal size, but the blocks of this model differ in size; "
                "prune the dense model instead"
            )

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Remove blocks; return them in order, with the loss before and after each of them."""
        text = calibration.pick(range(self.samples))
        loss = Candidates(model, lambda: perplexity(model, text).loss, "blocks")
        remaining = self.taking_part(model).nonzero().flatten().tolist()
        mask = torch.zeros(len(model.blocks), dtype=torch.bool)
        count = int(self.choose(model, torch.zeros(len(mask))).sum())
        removed, losses = [], [loss(mask)]
        for _ in track(range(count), "removing blocks"):
            without = {j: mask.index_fill(0, torch.tensor(j), True) for j in remaining}
            with masked(model, mask, "blocks"):
                trials = loss.by_block(text, without)
            least = min(remaining, key=trials.__getitem__)  # of equal losses, the earliest block
            mask[least] = True
            remaining.remove(least)
            removed.append(least)
            losses.append(trials[least])
        remove_blocks(model, removed)
        return {"removed": removed, "losses": losses, "evaluations": loss.evaluations}
