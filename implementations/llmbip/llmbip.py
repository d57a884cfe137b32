"""LLM-BIP: units by what they can do to the output of their block (Wu, arXiv 2024).

A channel of the feed-forward part adds to the block's output directly. What an attention channel
adds goes there on two ways: along the shortcut as it is, and through the feed-forward part, where
the absolute weights bound how far it can be carried. Both are known from one forward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from implementations.harness import (
    Block,
    Capabilities,
    ColumnSum,
    LanguageModel,
    Ratio,
    Tokens,
    UnitMethod,
    remove_units,
    smallest,
    walk,
)


class LLMBIP(UnitMethod):
    """Remove the KV groups and channels of each block that matter least at its output.

    Source: Wu, arXiv:2412.06419, as others describe it.
    """

    capabilities = Capabilities(granularity=("kv-groups", "channels"), calibration="forward")
    least = 1

    sparsity: Ratio = 0.2
    """Share of the decoder blocks' linear weights to remove, alike in every block."""
    propagate: bool = True
    """Follow attention through the feed-forward part; else score it at the output of `o`."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Score all units in one pass over the dense model, remove the lowest of each block."""
        scores = []
        for dense in walk(model, calibration, edits=False):
            scores.append(self.score(dense, dense.observe(ColumnSum, "o", "down")))
        groups = [heads for heads, _ in scores]
        lost = self.widths(model, torch.ones(len(scores)), {"kv-groups": groups})
        removed = [
            smallest(units, count).cpu()
            for both, counts in zip(scores, lost, strict=True)
            for units, count in zip(both, counts, strict=True)
        ]
        return remove_units(model, torch.cat(removed))

    def score(self, block: Block, seen: dict[str, ColumnSum]) -> tuple[Tensor, Tensor]:
        """Score the KV groups and the channels of a block, fp64 `[kv groups]` and `[channels]`."""
        attention, down = block.attention, block.feed_forward.down
        reach = propagated(block) if self.propagate else torch.ones_like(attention.o.weight[:, 0])
        heads = seen["o"].sums.double() * (attention.o.weight.double().abs().T @ reach.double())
        channels = seen["down"].sums.double() * down.weight.double().abs().sum(dim=0)
        return heads.view(attention.kv_heads, -1).sum(dim=1), channels


def propagated(block: Block) -> Tensor:
    """Return how far a change of each hidden feature behind attention can move the block's output.

    `(I + |W_U| |W_D|) 1`, fp64 `[hidden]`: the shortcut, and the feed-forward part by the absolute
    weights of `up` and `down`; two products of a matrix and a vector.
    """
    up, down = block.feed_forward.up.weight.double(), block.feed_forward.down.weight.double()
    return 1 + up.abs().T @ down.abs().sum(dim=0)
