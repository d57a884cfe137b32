"""Shapes that all decoder layers share, for methods whose result is an ordinary smaller model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from implementations.harness.errors import BadInput
from implementations.harness.model.hidden_width import keep_hidden
from implementations.harness.model.surgery import keep_channels, keep_query_heads
from implementations.harness.model.units import total_weights
from implementations.harness.model.view import LanguageModel


@dataclass(frozen=True)
class UniformShape:
    """Sizes of a model whose decoder layers all have the same shape."""

    hidden: int
    group: int
    """Query heads per KV group."""
    channels: int
    blocks: int
    kv_heads: int
    head_size: int
    inner: int
    """Layers that compute the channels: 2 with a gate, otherwise 1."""

    @property
    def heads(self) -> int:
        """Number of query heads."""
        return self.group * self.kv_heads

    @property
    def weights(self) -> int:
        """Number of weights of the blocks' linear layers."""
        attention = 2 * self.head_size * (self.heads + self.kv_heads)  # q and o, k and v
        return self.blocks * self.hidden * (attention + (self.inner + 1) * self.channels)

    @property
    def summary(self) -> dict[str, int]:
        """The sizes that may change, as for a record."""
        return {
            "hidden": self.hidden,
            "query_heads": self.heads,
            "channels": self.channels,
            "blocks": self.blocks,
        }

    @property
    def channel_weights(self) -> int:
        """Number of weights of one channel in every block."""
        return self.blocks * self.hidden * (self.inner + 1)

    def filled(self, weights: float, options: Sequence[int]) -> UniformShape:
        """Return the shape with the number of channels, of `options`, that is nearest to a size."""
        without = replace(self, channels=0).weights
        wanted = (weights - without) / self.channel_weights
        return replace(self, channels=min(options, key=lambda count: abs(count - wanted)))


def shape_of(model: LanguageModel) -> UniformShape:
    """Return the shape of a model; raises `BadInput` if its decoder layers differ."""
    hidden, blocks = model.embedding.shape[1], model.blocks
    shapes = {
        UniformShape(
            hidden=hidden,
            group=block.attention.group,
            channels=block.feed_forward.channels,
            blocks=len(blocks),
            kv_heads=block.attention.kv_heads,
            head_size=block.attention.head_size,
            inner=len(block.feed_forward.inner),
        )
        for block in blocks
    }
    shape = shapes.pop()
    if shapes or shape.weights != total_weights(model) or not shape.heads or not shape.channels:
        raise BadInput(
            f"all decoder layers of {model.name} must have the same shape, with heads and "
            "channels; prune the dense model instead"
        )
    return shape


def sizes(dense: int, multiple: int, fewest: float = 1) -> Iterator[int]:
    """Yield the dense size and its smaller multiples of `multiple`, down to `fewest`."""
    yield dense
    for size in range((dense - 1) // multiple * multiple, 0, -multiple):
        if size >= fewest - 1e-9:  # (1 - 0.7) * 2560 is 768.0000000000001
            yield size


@dataclass(frozen=True)
class ShapeChoices:
    """The shapes that a model may be cut to."""

    dense: UniformShape
    most: float
    """Largest share of the hidden dimensions, query heads and MLP channels that may be removed."""
    hidden_multiple: int
    """The hidden size is a multiple of this number and of the number of query heads."""
    channel_multiple: int
    """The number of MLP channels is a multiple of this number."""

    @property
    def unit(self) -> int:
        """Number of weights of one step of the number of channels."""
        return self.channel_multiple * self.dense.channel_weights

    @property
    def smallest(self) -> int:
        """Number of weights of the smallest shape."""
        fewest = min(self.channel_counts)
        return min(replace(frame, channels=fewest).weights for frame in self.frames)

    @property
    def frames(self) -> list[UniformShape]:
        """The allowed hidden sizes and numbers of query heads, largest first, with all channels."""
        dense, least = self.dense, 1 - self.most
        frames = []
        for group in sizes(dense.group, 1, least * dense.group):
            step = math.lcm(self.hidden_multiple, group * dense.kv_heads)
            for hidden in sizes(dense.hidden, step, least * dense.hidden):
                frame = replace(dense, hidden=hidden, group=group)
                # Configurations of Llama require that the heads divide the hidden size.
                if hidden % frame.heads == 0 or frame == dense:
                    frames.append(frame)
        return frames

    @property
    def channel_counts(self) -> list[int]:
        """The allowed numbers of channels, largest first."""
        fewest = (1 - self.most) * self.dense.channels
        return list(sizes(self.dense.channels, self.channel_multiple, fewest))

    def near(self, weights: float) -> list[UniformShape]:
        """Return the shapes of about `weights` weights, within half of a `unit`.

        There is at most one for each hidden size and number of query heads. Raises `BadInput` if
        no shape meets the budget.
        """
        counts = self.channel_counts
        filled = [frame.filled(weights, counts) for frame in self.frames]
        near = [shape for shape in filled if abs(shape.weights - weights) <= self.unit / 2]
        if not near:
            raise BadInput(
                f"no shape with multiples of {self.hidden_multiple} hidden dimensions and "
                f"{self.channel_multiple} channels meets the sparsity; lower `hidden_multiple` or "
                "`channel_multiple`, or raise `most`"
            )
        return near


def cut_to_shape(
    model: LanguageModel, hidden: Tensor, heads: Sequence[Tensor], channels: Sequence[Tensor]
) -> None:
    """Keep the marked units: `hidden [hidden]`, and `heads [heads]` and `channels` per block."""
    keep_hidden(model, hidden)
    for block in model.visit():
        keep_query_heads(block.attention, heads[block.index])
        keep_channels(block.feed_forward, channels[block.index])
