"""2SSP: narrow every MLP, then drop whole attentions (Sandri et al., TMLR 2025).

First, every block keeps the same share of its channels: those with the largest activations. Then
attentions of the narrowed model are dropped one by one, each time the one whose removal gives the
lowest perplexity on a calibration sample. A formula divides the budget between the two stages.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import torch

from implementations.harness import (
    AtlasWarning,
    BadInput,
    Candidates,
    Capabilities,
    Count,
    LanguageModel,
    NonNegative,
    Ratio,
    SampleNorm,
    Tokens,
    UnitMethod,
    check_predictions,
    keep_channels,
    keep_units,
    perplexity,
    smallest,
    track,
    unit_costs,
    walk,
)


class Sizes(NamedTuple):
    """Number of blocks, and of linear weights in each part of a block."""

    blocks: int
    attention: float
    """Weights of the attention of one block."""
    feed_forward: float
    """Weights of the MLP of one block."""

    @property
    def all(self) -> float:
        """Weights of all blocks; the budget is a share of these."""
        return self.blocks * (self.attention + self.feed_forward)


class TwoSSP(UnitMethod):
    """Remove MLP channels by activation norm, then whole attention modules by perplexity.

    Source: Sandri et al., arXiv:2501.17771, Eq. 5 and Section 4.3, and the official code.
    """

    capabilities = Capabilities(
        granularity=("channels", "sublayers"), calibration="forward", parallel=True
    )

    sparsity: Ratio = 0.25
    """Share of the weights in the decoder's linear layers to remove."""
    alpha: NonNegative = 1.5
    """Exponent parameter of Eq. 5 (alpha). The larger it is, the more attentions are dropped."""
    attentions: int | None = None
    """Number of attentions to drop, instead of Eq. 5."""
    probes: Count = 1
    """Number of calibration samples on which the second stage measures perplexity."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Also reject a split that misses the budget, and samples without a perplexity."""
        super().check(model, calibration)
        attentions, _ = self.split(model)
        if attentions:
            check_predictions(calibration, self.slug())

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Narrow the model by one pass over the dense model, then drop attentions one by one."""
        attentions, rate = self.split(model)
        norms = []
        for dense in walk(model, calibration, edits=False):
            norms.append(dense.observe(SampleNorm, "down")["down"].norms)
        for block, scores in zip(model.visit(), norms, strict=True):
            lost = len(scores) - round(len(scores) * (1 - rate))
            keep_channels(block.feed_forward, ~smallest(scores, lost))
        probes = next(calibration.chunks(self.probes))
        dropped: list[int] = []
        for _ in track(range(attentions), "dropping attentions"):
            dropped.append(least_missed(model, with_attention(model), probes))
            with model.opened(model.blocks[dropped[-1]]) as block:
                keep_units(block, "sublayers", [1])  # the MLP
        return {
            "attentions_dropped": dropped,
            "channels": [block.feed_forward.channels for block in model.blocks],
        }

    def split(self, model: LanguageModel) -> tuple[int, float]:
        """Return the number of attentions to drop and the share of channels each block loses.

        Raises `BadInput` if the split misses the budget by more than half of the largest unit.
        """
        sizes, most = sizes_of(model), len(with_attention(model))
        count = self.attentions
        if count is None:
            count = min(attentions_to_drop(self.sparsity, sizes, self.alpha), most)
        if not 0 <= count <= most:
            raise BadInput(f"`attentions` must be between 0 and {most}, got {count}")
        room = sizes.blocks * sizes.feed_forward
        dropped = count / max(most, 1) * sizes.blocks * sizes.attention  # weights
        left = self.sparsity * sizes.all - dropped  # for the channels
        if max(-left, left - room) > self.largest_unit(model) / 2:
            raise BadInput(
                f"`sparsity` {self.sparsity:g} cannot be met: {count} of {most} attentions "
                f"are {dropped / sizes.all:.3g} of the weights and all channels "
                f"{room / sizes.all:.3g}; set `attentions` or use another sparsity"
            )
        return count, min(max(left / room, 0), 1) if room else 0.0

    def largest_unit(self, model: LanguageModel) -> int:
        """Count the weights of an attention or of a channel in every block, whichever is more."""
        # All channels of a block cost the same.
        channels = sum(int(unit_costs(block, "channels")[:1].sum()) for block in model.blocks)
        attention = max(int(unit_costs(block, "sublayers")[0]) for block in model.blocks)
        return max(attention, channels)

    def max_sparsity(self, model: LanguageModel) -> float:
        """Return the largest share that leaves at least half of the largest unit."""
        return 1 - self.largest_unit(model) / 2 / sizes_of(model).all


def sizes_of(model: LanguageModel) -> Sizes:
    """Measure the mean sizes of the parts over all blocks."""
    blocks = model.blocks
    costs = torch.stack([unit_costs(block, "sublayers") for block in blocks])  # [blocks, 2]
    return Sizes(len(blocks), *costs.double().mean(dim=0).tolist())


def with_attention(model: LanguageModel) -> list[int]:
    """List the blocks that have an attention."""
    return [block.index for block in model.blocks if block.attention.kv_heads]


def attentions_to_drop(sparsity: float, sizes: Sizes, alpha: float) -> int:
    """Return `round(B * s^((P_ffn / P_attn) / alpha))`, Eq. 5."""
    if not sparsity or not sizes.attention or not alpha:
        return 0
    exponent = sizes.feed_forward / sizes.attention / alpha
    return round(sizes.blocks * math.pow(sparsity, exponent))


def least_missed(model: LanguageModel, left: list[int], probes: Tokens) -> int:
    """Return the block of `left` that gives the lowest perplexity without its attention.

    Of equal ones, the first.
    """
    loss = Candidates(model, lambda: perplexity(model, probes).value, "sublayers")
    without = torch.eye(2 * len(model.blocks), dtype=torch.bool)  # attention and MLP of each block
    loss.by_block(probes, {i: without[2 * i] for i in left})
    assert loss.best is not None
    best = int(loss.best.nonzero()[0]) // 2
    if loss.least == math.inf:
        warnings.warn(
            "perplexity is NaN or infinite whichever attention is dropped; "
            f"dropping that of block {best}",
            AtlasWarning,
            stacklevel=2,
        )
    return best
