"""LLM-BIP: score units by how much they can change their block's output (Wu, arXiv 2024).

An MLP channel adds to the block's output directly. The contribution of an attention channel gets
there on two paths: unchanged along the shortcut, and through the MLP, where the absolute weights
bound its effect. One forward pass is enough to compute both.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from implementations.harness import (
    Block,
    Capabilities,
    ColumnSum,
    LanguageModel,
    Ratio,
    Tokens,
    UnitMethod,
    walk,
)


class LLMBIP(UnitMethod):
    """Remove from each decoder layer the KV groups and MLP channels that can change it least.

    Source: Wu, arXiv:2412.06419, as others describe it.
    """

    capabilities = Capabilities(
        granularity=("kv-groups", "channels"), calibration="forward", parallel=True
    )
    least = 1

    sparsity: Ratio = 0.2
    """Share of the weights in the decoder's linear layers to remove, the same in every
    decoder layer."""
    propagate: bool = True
    """Follow the effect of attention through the MLP; if false, score it at the output of `o`."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Score all units in one pass over the dense model and remove the lowest of each block."""
        scores = []
        for dense in walk(model, calibration, edits=False):
            scores.append(self.score(dense, dense.observe(ColumnSum, "o", "down")))
        return self.remove_lowest(model, scores)

    def score(self, block: Block, seen: dict[str, ColumnSum]) -> tuple[Tensor, Tensor]:
        """Score the KV groups and the channels of a block, fp64 `[kv groups]` and `[channels]`."""
        attention, down = block.attention, block.feed_forward.down
        o = attention.o.weight.double().abs()  # [hidden, in]
        reach = o.T @ propagated(block) if self.propagate else o.sum(dim=0)
        heads = seen["o"].sums.double() * reach
        channels = seen["down"].sums.double() * down.weight.double().abs().sum(dim=0)
        width = attention.group * attention.head_size  # inputs of o per KV group
        return heads.view(attention.kv_heads, width).sum(dim=1), channels


def propagated(block: Block) -> Tensor:
    """Return the bound on how much each hidden feature after attention changes the block's output.

    This is `(I + |W_U| |W_D|) 1`, fp64 `[hidden]`: the shortcut, and the MLP with the absolute
    weights of `up` and `down`. It takes two matrix-vector products.
    """
    up, down = block.feed_forward.up.weight.double(), block.feed_forward.down.weight.double()
    return 1 + up.abs().T @ down.abs().sum(dim=0)
