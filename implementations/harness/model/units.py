"""The units that structured methods remove, and what each costs.

What of which linear layer goes with a unit is said here and nowhere else; surgery cuts it, costs
count it. Budgets are counted in weights of the linear layers inside the decoder blocks.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from implementations.harness.errors import BadInput, NumericsError
from implementations.harness.model.view import Attention, Block, FeedForward, LanguageModel

Kind = Literal["kv-groups", "channels", "blocks"]


class Cut(NamedTuple):
    """What goes of one linear layer with every unit: `width` of its rows (dim 0) or columns (1)."""

    linear: nn.Linear
    dim: int
    width: int

    @property
    def weights(self) -> int:
        """Weights that go with one unit."""
        linear = self.linear
        return self.width * (linear.in_features if self.dim == 0 else linear.out_features)


def kv_group_cuts(attention: Attention) -> list[Cut]:
    """What goes with a KV group: a key and a value head, their query heads and columns of o."""
    size = attention.head_size
    queries = attention.group * size
    return [
        Cut(attention.q, 0, queries),
        Cut(attention.k, 0, size),
        Cut(attention.v, 0, size),
        Cut(attention.o, 1, queries),
    ]


def channel_cuts(feed_forward: FeedForward) -> list[Cut]:
    """What goes with a feed-forward channel: a row of gate (if any) and up, a column of down."""
    inner = [linear for linear in (feed_forward.gate, feed_forward.up) if linear is not None]
    return [*(Cut(linear, 0, 1) for linear in inner), Cut(feed_forward.down, 1, 1)]


def unit_costs(block: Block, *kinds: Kind) -> Tensor:
    """Count the weights that each unit of a block takes with it, `[units]`, kind by kind."""
    counted: list[int] = []
    for kind in kinds:
        if kind == "kv-groups":
            counted += [_cost(kv_group_cuts(block.attention))] * block.attention.kv_heads
        elif kind == "channels":
            counted += [_cost(channel_cuts(block.feed_forward))] * block.feed_forward.channels
        elif kind == "blocks":
            counted.append(block_weights(block))
        else:
            raise BadInput(f"what a unit of {kind!r} costs is not known; let the method count it")
    return torch.tensor(counted)


def block_weights(block: Block) -> int:
    """Count the weights of all linear layers of a block, those that a method added included."""
    linears = _all_linears(block).values()
    return sum(linear.in_features * linear.out_features for linear in linears)


class Weights(NamedTuple):
    """Weights of the linear layers inside the decoder blocks; norms and biases not counted."""

    all: int
    nonzero: int


def count_weights(model: LanguageModel, damaged: str = "check the model") -> Weights:
    """Count what budgets are counted in, opening one block at a time.

    Raises `NumericsError` naming the first layer with NaN or infinity, and `damaged`, the likely
    reason.
    """
    everything = nonzero = 0
    for block in model.visit():
        for name, linear in _all_linears(block).items():
            if not bool(linear.weight.isfinite().all()):
                raise NumericsError(
                    f"block {block.index}, {name}: the weights contain NaN or infinity; {damaged}"
                )
            nonzero += int(torch.count_nonzero(linear.weight))
        everything += block_weights(block)
    return Weights(everything, nonzero)


def _cost(cuts: list[Cut]) -> int:
    return sum(cut.weights for cut in cuts)


def _all_linears(block: Block) -> dict[str, nn.Linear]:
    """Return every linear layer inside a block, by its role or, where it has none, its path."""
    roles = {linear: role for role, linear in block.linears().items()}
    return {
        roles.get(module, path): module
        for path, module in block.module.named_modules()
        if isinstance(module, nn.Linear)
    }
