"""CFSP: from one forward pass, how many channels a block keeps and which (Wang et al., 2025).

Coarse: a block that turns the hidden state far keeps a larger share of its feed-forward channels.
Fine: inside a block stay the channels whose weights and activations weigh most beside the others'.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

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
    keep_channels,
    walk,
)

SCALE = 128 * 1024 / 1e4  # the official code sums the angles of so many tokens, over ten thousand
MARGIN = 1.05  # how far the most important block stays from keeping all of its channels
WIDE = 4096  # feed-forward parts from here on are cut to multiples of 128, narrower ones of 32


class CFSP(UnitMethod):
    """Remove feed-forward channels: how many of a block by its angle, which by their activation.

    Source: Wang et al., COLING 2025, arXiv:2409.13199, without the fine-tuning.
    """

    capabilities = Capabilities(granularity=("channels",), calibration="forward")
    least = 1

    sparsity: Ratio = 0.2
    """Share of the decoder blocks' linear weights to remove, all of it of feed-forward parts."""
    score: Literal["paper", "official"] = "paper"
    """How channels are ranked: by equation (8), or by activation norm as the official code does."""
    steepness: NonNegative = 1.0
    """How far apart the angles drive the blocks (a); 0 keeps the same share in every block."""
    share_exponent: NonNegative = 1.0
    """Exponent of the activation norm inside the share of `down` (b)."""
    norm_exponent: NonNegative = 1.0
    """Exponent of the activation norm that the shares are multiplied by (c)."""
    multiple: Count | None = None
    """Channels that go at once; left out, 128 from 4,096 channels on, else 32, or what divides."""

    def together(self, model: LanguageModel) -> int:
        """Count the channels that go at once, so that every width stays a multiple of it."""
        widths = [block.feed_forward.channels for block in model.blocks]
        return self.multiple or math.gcd(128 if max(widths) >= WIDE else 32, *widths)

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Refuse also a multiple that a width is none of."""
        for block in model.blocks:
            channels = block.feed_forward.channels
            if channels % self.together(model):
                raise BadInput(
                    f"multiple {self.multiple} does not divide the {channels} channels of block "
                    f"{block.index}; choose one that does, or leave it out"
                )
        super().check(model, calibration)

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Measure angles and scores in one pass of the dense model, then cut every block."""
        angles: list[float] = []
        scores: list[Tensor] = []
        for dense in walk(model, calibration, edits=False):
            with dense.watching(ColumnNorm, "down") as norms:
                turned = torch.cat([angle(x, y).flatten() for x, y in dense.run()])  # [tokens]
            angles.append(float(turned.mean()))
            scores.append(self.rank(dense, norms["down"].norms))
        keep = kept_shares(torch.tensor(angles).double(), self.rate(model), self.steepness)
        lost = self.widths(model, 1 - keep, {"channels": scores})
        for block, score, (count,) in zip(model.visit(), scores, lost, strict=True):
            stay = score.argsort(descending=True, stable=True)[: len(score) - count]
            keep_channels(block.feed_forward, stay)
        widths = [block.feed_forward.channels for block in model.blocks]
        return {"angles": angles, "keep": keep.tolist(), "channels": widths}

    def rank(self, block: Block, norms: Tensor) -> Tensor:
        """Score the channels of a block by the norms of what enters `down`, `[channels]`."""
        if self.score == "official":
            return norms**self.norm_exponent
        shares = relative_activation(block.feed_forward.down.weight, norms**self.share_exponent)
        # Of a row of up or gate the same sum, |W_ij| over the row's own L1 norm, is 1 throughout.
        rows = 1 if block.feed_forward.gate is None else 2
        return (shares + rows) * norms**self.norm_exponent  # equation (8)


def angle(x: Tensor, y: Tensor) -> Tensor:
    """Return `arccos(cos(x, y)) / pi`, fp64 `[...]` in [0, 1], of each token `[..., hidden]`.

    By the half-angle formula, which keeps its digits where x and y almost agree. A token that is
    zero on one side counts as turned by a right angle.
    """
    one, other = (normalize(tokens.double(), dim=-1) for tokens in (x, y))
    return 2 * torch.atan2((one - other).norm(dim=-1), (one + other).norm(dim=-1)) / math.pi


def kept_shares(angles: Tensor, rate: float, steepness: float = 1.0) -> Tensor:
    """Return the share of its channels that every block keeps, `[blocks]`, `1 - rate` on average.

    `angles [blocks]` are means over tokens, in units of pi. A block that turns the state further
    keeps more, and none keeps all unless nothing goes.
    """
    importance = torch.sigmoid(steepness * SCALE * (angles - angles.mean()))
    mean = importance.mean()
    spread = importance - mean
    widest = mean * rate / (1 - rate)  # with such a spread a block keeps all
    if spread.max() > widest:
        spread *= widest / spread.max() / MARGIN
    return (1 - rate) * (1 + spread / mean)


def relative_activation(weight: Tensor, norms: Tensor) -> Tensor:
    """Sum over the outputs the share that each input has in them, `[in]`.

    `|W_ji| n_i / sum_k |W_jk| n_k`, with `weight [out, in]` and `norms [in]`; the first term of
    equation (8). An output that nothing enters counts 0.
    """
    weighed = weight.float().abs() * norms  # [out, in]
    return (weighed / weighed.sum(dim=1, keepdim=True).clamp(min=torch.finfo().tiny)).sum(dim=0)
