"""CFSP: coarse-to-fine pruning of MLP channels in one forward pass (Wang et al., 2025).

Coarse: a block that changes the direction of the hidden state a lot keeps a larger share of its MLP
channels. Fine: inside a block, the channels with the largest weights and activations relative to
the others are kept.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from implementations.harness import (
    BadInput,
    Block,
    Capabilities,
    ColumnNorm,
    Count,
    LanguageModel,
    NonNegative,
    Ratio,
    Tokens,
    UnitMethod,
    angle,
    keep_channels,
    smallest,
    walk,
)

SCALE = 128 * 1024 / 1e4  # tokens over which the official code sums angles, over 10,000
MARGIN = 1.05  # keeps the most important block below all of its channels
WIDE = 4096  # MLPs with at least this many channels use multiples of 128, others of 32


class CFSP(UnitMethod):
    """Prune MLP channels: angles of decoder layers set how many, relative activations set which.

    Source: Wang et al., COLING 2025, arXiv:2409.13199, without the fine-tuning.
    """

    capabilities = Capabilities(granularity=("channels",), calibration="forward", parallel=True)
    least = 1

    sparsity: Ratio = 0.2
    """Share of the weights in the decoder's linear layers to remove, all of them from the
    MLPs."""
    score: Literal["paper", "official"] = "paper"
    """Channel score: equation (8), or the activation norm as in the official code."""
    steepness: NonNegative = 1.0
    """How strongly angles affect the shares of decoder layers (a); 0 means equal shares."""
    share_exponent: NonNegative = 1.0
    """Exponent of the activation norm inside the share of `down` (b)."""
    norm_exponent: NonNegative = 1.0
    """Exponent of the activation norm by which the shares are multiplied (c)."""
    multiple: Count | None = None
    """Channels removed at once; default 128 from 4,096 channels on, else 32, or a divisor."""

    def together(self, model: LanguageModel) -> int:
        """Return the number of channels removed at once; every width stays a multiple of it."""
        widths = [block.feed_forward.channels for block in model.blocks]
        return self.multiple or math.gcd(128 if max(widths) >= WIDE else 32, *widths)

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Also check that the multiple divides every width."""
        self.check_family(model)
        for block in model.blocks:
            channels = block.feed_forward.channels
            if channels % self.together(model):
                raise BadInput(
                    f"multiple {self.multiple} does not divide the {channels} channels of block "
                    f"{block.index}; choose a divisor, or omit the setting"
                )
        super().check(model, calibration)

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Measure angles and scores in one pass of the dense model, then prune every block."""
        angles: list[float] = []
        scores: list[Tensor] = []
        for dense in walk(model, calibration, edits=False):
            with dense.watching(ColumnNorm, "down") as norms:
                angles.append(dense.token_mean(angle))
            scores.append(self.rank(dense, norms["down"].norms))
        keep = kept_shares(torch.tensor(angles).double(), self.rate(model), self.steepness)
        lost = self.widths(model, 1 - keep, {"channels": scores})
        for block, score, (count,) in zip(model.visit(), scores, lost, strict=True):
            # Reversed, because of equal scores `smallest` marks the first.
            removed = smallest(score.flip(0), count).flip(0)
            keep_channels(block.feed_forward, ~removed)
        widths = [block.feed_forward.channels for block in model.blocks]
        return {"angles": angles, "keep": keep.tolist(), "channels": widths}

    def rank(self, block: Block, norms: Tensor) -> Tensor:
        """Score the channels of a block from the input norms of `down`, `[channels]`."""
        if self.score == "official":
            return norms**self.norm_exponent
        shares = relative_activation(block.feed_forward.down.weight, norms**self.share_exponent)
        # For up and gate, the sum of |W_ij| over the row's own L1 norm is always 1.
        rows = 1 if block.feed_forward.gate is None else 2
        return (shares + rows) * norms**self.norm_exponent  # equation (8)


def kept_shares(angles: Tensor, rate: float, steepness: float = 1.0) -> Tensor:
    """Return the share of its channels that each block keeps, `[blocks]`; its mean is `1 - rate`.

    `angles [blocks]` are means over tokens, in units of pi. A block with a larger angle keeps more.
    No block keeps all of its channels, unless the rate is 0.
    """
    importance = torch.sigmoid(steepness * SCALE * (angles - angles.mean()))
    mean = importance.mean()
    spread = importance - mean
    widest = mean * rate / (1 - rate)  # with this spread, a block would keep all channels
    if spread.max() > widest:
        spread *= widest / spread.max() / MARGIN
    return (1 - rate) * (1 + spread / mean)


def relative_activation(weight: Tensor, norms: Tensor) -> Tensor:
    """Return the sum of each input's shares in all outputs, `[in]`; first term of equation (8).

    A share is `|W_ji| n_i / sum_k |W_jk| n_k`, with `weight [out, in]` and `norms [in]`. Outputs
    without any input count as 0.
    """
    weighed = weight.float().abs() * norms  # [out, in]
    return (weighed / weighed.sum(dim=1, keepdim=True).clamp(min=torch.finfo().tiny)).sum(dim=0)
