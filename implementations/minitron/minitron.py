"""Minitron: keep the most active hidden dimensions, heads and channels (Muralidharan et al., 2024).

One pass over the calibration set scores every coordinate by its mean absolute activation. Several
shapes that meet the budget are tried, each with its highest-scoring coordinates, and the one with
the lowest loss is cut out. The weights do not change; the paper trains the result on the logits of
the dense model afterwards, which is `--recover distill`. Alternatively, consecutive decoder layers
are removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from implementations.harness import (
    FIXED_WIDTH,
    Candidates,
    Capabilities,
    Count,
    LanguageModel,
    Ratio,
    ShapeChoices,
    Tokens,
    UniformShape,
    UnitMethod,
    cut_to_shape,
    gated_hidden,
    perplexity,
    remove_blocks,
    shape_of,
    smallest,
    walk,
)


class Minitron(UnitMethod):
    """Cut the most active coordinates out of a model, or remove a run of decoder layers.

    Source: Muralidharan et al., arXiv:2407.14679, Sreenivas et al., arXiv:2408.11796, and the
    official code.
    """

    capabilities = Capabilities(
        granularity=("hidden", "query-heads", "channels", "blocks"),
        calibration="forward",
        changes=("linears", "norms", "embedding", "head"),
        refuses=FIXED_WIDTH,
    )
    tiny_settings: ClassVar[dict[str, Any]] = {"shapes": 3, "hidden_multiple": 4}

    sparsity: Ratio = 0.2
    """Share of the weights in the decoder's linear layers to remove."""
    axis: Literal["width", "depth"] = "width"
    """Cut hidden dimensions, query heads and MLP channels, or remove consecutive decoder layers."""
    most: Ratio = 0.4
    """Largest share of the hidden dimensions, query heads and MLP channels that may be removed."""
    shapes: Count = 10
    """Number of shapes that are tried; more are thinned out evenly."""
    hidden_multiple: Count = 8
    """The hidden size is a multiple of this number and of the number of query heads."""
    channel_multiple: Count = 8
    """The number of MLP channels is a multiple of this number."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Also check that all blocks have the same shape and that one shape meets the budget."""
        super().check(model, calibration)
        self.candidates(model)

    def choices(self, model: LanguageModel) -> ShapeChoices:
        """Return the allowed shapes."""
        return ShapeChoices(shape_of(model), self.most, self.hidden_multiple, self.channel_multiple)

    def largest_unit(self, model: LanguageModel) -> int:
        """Return the weights of one step of the number of channels, or of one block."""
        choices = self.choices(model)
        if self.axis == "depth":
            return choices.dense.weights // choices.dense.blocks
        return choices.unit

    def max_sparsity(self, model: LanguageModel) -> float:
        """Return the share that the smallest shape removes, or all blocks but one."""
        choices = self.choices(model)
        if self.axis == "depth":
            return 1 - 1 / choices.dense.blocks
        return 1 - choices.smallest / choices.dense.weights

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Cut out the best shape; return it and the perplexity of every shape or run tried."""
        if self.axis == "depth":
            return self.shorten(model, calibration)
        candidates = self.candidates(model)
        scores = importance(model, calibration)
        tried = []
        if len(candidates) > 1:
            tried = [self.loss(model, calibration, scores.kept(shape)) for shape in candidates]
        best = candidates[tried.index(min(tried)) if tried else 0]
        kept = scores.kept(best)
        cut_to_shape(model, kept.hidden, list(kept.heads), list(kept.channels))
        return {
            "shape": best.summary,
            "shapes": [one.summary for one in candidates],
            "perplexities": tried,
        }

    def candidates(self, model: LanguageModel) -> list[UniformShape]:
        """Return the shapes to try, evenly thinned out; each meets the budget by its channels."""
        if self.axis == "depth":
            return []
        choices = self.choices(model)
        near = choices.near((1 - self.sparsity) * choices.dense.weights)
        count = min(self.shapes, len(near))
        return [near[i * len(near) // count] for i in range(count)]

    def loss(self, model: LanguageModel, calibration: Tokens, kept: Kept) -> float:
        """Return the perplexity on the calibration set of the dense model with the units `kept`."""
        removed = ~torch.cat([kept.heads, kept.channels], dim=1).flatten()
        with gated_hidden(model) as gates:
            gates.values = kept.hidden.float()
            return Candidates(
                model, lambda: perplexity(model, calibration).value, "query-heads", "channels"
            )(removed)

    def shorten(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Remove the run of consecutive blocks without which the perplexity is lowest."""
        blocks = len(model.blocks)
        count = round(self.sparsity * blocks)
        if not count:
            return {"removed": []}
        loss = Candidates(model, lambda: perplexity(model, calibration).value, "blocks")
        index = torch.arange(blocks)
        runs = [(index >= start) & (index < start + count) for start in range(blocks - count + 1)]
        tried = loss.by_block(calibration, dict(enumerate(runs)))
        assert loss.best is not None
        remove_blocks(model, loss.best)
        removed = loss.best.nonzero().flatten().tolist()
        return {"removed": removed, "perplexities": list(tried.values())}


class MeanActivation:
    """The mean absolute value of each feature over a sample's tokens, then L2 over the samples.

    The scores depend on how text is divided into samples, but not on how samples are batched.
    """

    def __init__(self, features: int, device: torch.device | str = "cpu") -> None:
        self.squares = torch.zeros(features, device=device)

    @property
    def scores(self) -> Tensor:
        """`sqrt(sum_n (mean_t |a_ntj|)^2)` of every feature, `[features]`, fp32."""
        return self.squares.sqrt()

    def update(self, x: Tensor) -> None:
        """Add whole samples, `x [samples, tokens, features]`."""
        self.squares += x.float().abs().mean(dim=1).square().sum(dim=0)

    def finite(self) -> bool:
        """Return whether all activations were finite."""
        return bool(self.squares.isfinite().all())

    def reduce(self) -> None:
        """Keep the activations of this process, which reads the whole calibration set."""


@dataclass(frozen=True)
class Kept:
    """The marked units: `hidden [hidden]`, `heads [blocks, heads]`, `channels [blocks, channels]`.

    All are boolean.
    """

    hidden: Tensor
    heads: Tensor
    channels: Tensor


@dataclass(frozen=True)
class Scores:
    """The scores of hidden dimensions, query heads and channels, in the shapes of `Kept`."""

    hidden: Tensor
    heads: Tensor
    channels: Tensor
    kv_heads: int

    def kept(self, shape: UniformShape) -> Kept:
        """Mark the units with the highest scores; every KV group keeps the same number of heads."""
        grouped = self.heads.unflatten(1, (self.kv_heads, -1))  # [blocks, kv heads, group]
        return Kept(
            smallest(-self.hidden, shape.hidden),
            smallest(-grouped, shape.group).flatten(1),
            smallest(-self.channels, shape.channels),
        )


def importance(model: LanguageModel, calibration: Tokens) -> Scores:
    """Score all coordinates of the dense model by their activations, in one pass."""
    hidden, heads, channels = torch.zeros(model.embedding.shape[1]), [], []
    for block in walk(model, calibration, edits=False):
        seen = block.observe(MeanActivation, "q", "o", "up", "down")
        scores = {role: one.scores.cpu() for role, one in seen.items()}
        hidden += scores["q"] + scores["up"]  # the outputs of the block's norms
        # A head's score is the norm of its coordinates' scores.
        heads.append(scores["o"].unflatten(0, (-1, block.attention.head_size)).norm(dim=1))
        channels.append(scores["down"])
    return Scores(hidden, torch.stack(heads), torch.stack(channels), shape_of(model).kv_heads)
