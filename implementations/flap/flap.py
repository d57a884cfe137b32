"""FLAP: remove the heads and channels that fluctuate least, keep their mean (An et al., AAAI 2024).

If an input channel of a layer is replaced by its average, the output changes only as much as that
channel fluctuates. The average itself is not lost: the mean contribution of the removed channels
becomes a bias.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from implementations.harness import (
    BadInput,
    Block,
    Capabilities,
    LanguageModel,
    Moments,
    Ratio,
    Tokens,
    UnitMethod,
    add_bias,
    keep_channels,
    keep_kv_groups,
    standardise,
    walk,
    widths_left,
)


class FLAP(UnitMethod):
    """Remove the KV groups and MLP channels with the lowest fluctuation in one global ranking.

    Source: An et al., arXiv:2312.11983, WIFV with AL-AM (adaptive over layers and modules).
    """

    capabilities = Capabilities(
        granularity=("kv-groups", "channels"), calibration="forward", parallel=True
    )

    sparsity: Ratio = 0.2
    """Share of the weights in the decoder's linear layers to remove."""
    compensate: bool = True
    """Add the mean contribution of the removed units to the output bias, formula (3)."""
    square_attention: bool = False
    """Square attention scores before standardising them, as the official code does."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Also reject a single calibration token."""
        super().check(model, calibration)
        if calibration is not None and calibration.ids.numel() < 2:
            raise BadInput("flap needs two or more calibration tokens: one does not fluctuate")

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Score all units on the dense model and remove the lowest; return the new widths."""
        moments: list[dict[str, Moments]] = []
        scores: list[Tensor] = []
        for dense in walk(model, calibration, edits=False):
            moments.append(dense.observe(Moments, "o", "down"))
            scores.append(self.score(dense, moments[-1]))
        removed = self.choose(model, torch.cat(scores))
        lost = removed.split([len(s) for s in scores])
        for block, seen, units in zip(model.visit(), moments, lost, strict=True):
            self.remove(block, seen, units)
        return widths_left(model)

    def score(self, block: Block, seen: dict[str, Moments]) -> Tensor:
        """Score the units of a block, `[kv groups + channels]`, the KV groups first."""
        attention = fluctuation(seen["o"].variance, block.attention.o.weight)
        if self.square_attention:
            attention = attention.square()
        channels = fluctuation(seen["down"].variance, block.feed_forward.down.weight)
        width = block.attention.group * block.attention.head_size  # inputs of o per KV group
        groups = standardise(attention).view(block.attention.kv_heads, width).mean(dim=1)  # (2)
        # The mean over all groups is 0: if a block has only one, rounding noise must not rank it.
        return torch.cat([groups.round(decimals=12), standardise(channels)])

    def remove(self, block: Block, seen: dict[str, Moments], lost: Tensor) -> None:
        """Remove the units marked in `lost [kv groups + channels]` from a block."""
        attention, feed_forward = block.attention, block.feed_forward
        groups, channels = lost.split([attention.kv_heads, feed_forward.channels])
        if self.compensate:
            heads = groups.repeat_interleave(attention.group * attention.head_size)  # [o inputs]
            for linear, mean, removed in (
                (attention.o, seen["o"].mean, heads),
                (feed_forward.down, seen["down"].mean, channels),
            ):
                if removed.any():  # a layer that loses nothing gets no bias
                    add_bias(linear, compensation(linear.weight, mean, removed))  # (4)
        keep_kv_groups(attention, ~groups)
        keep_channels(feed_forward, ~channels)


def fluctuation(variance: Tensor, weight: Tensor) -> Tensor:
    """Return the scores of input channels, fp64 `[in]`, of `variance [in]` and `weight [out, in]`.

    The score is the variance of an input times the squared norm of its weights, formula (1).
    """
    return variance.to(weight.device) * weight.double().square().sum(dim=0)


def compensation(weight: Tensor, mean: Tensor, removed: Tensor) -> Tensor:
    """Return the mean contribution of the inputs `removed [in]` to the output, fp64 `[out]`.

    This is `W (removed * mean)` for `weight [out, in]` and `mean [in]`, formula (3).
    """
    return weight.double() @ (mean.to(weight.device) * removed.to(weight.device))
