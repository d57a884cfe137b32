"""The units that structured methods remove, and what each costs.

What of which linear layer goes with a unit is said here and nowhere else; surgery cuts it, costs
count it. Budgets are counted in weights of the linear layers inside the decoder blocks.

KV groups and channels leave a smaller layer. Query heads, value dimensions and rotary pairs go
from inside a layer that keeps its width (`IndexedLinear`), and the others keep their numbers. So do
the dimensions of the residual stream that an attention or a feed-forward part reads (its inputs)
and writes (its outputs), which differ from part to part while the stream stays as wide as it is.
The two sublayers of a block are its attention and its feed-forward part, in this order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from implementations.harness.errors import BadInput, NumericsError
from implementations.harness.model.modeling_pruned import places_held
from implementations.harness.model.view import Attention, Block, FeedForward, LanguageModel

Kind = Literal[
    "kv-groups",
    "query-heads",
    "value-dims",
    "rotary-pairs",
    "channels",
    "attention-inputs",
    "attention-outputs",
    "feed-forward-inputs",
    "feed-forward-outputs",
    "sublayers",
    "blocks",
]

NAMES: dict[str, str] = {
    "kv-groups": "KV group",
    "query-heads": "query head",
    "value-dims": "value dimension",
    "rotary-pairs": "rotary pair",
    "channels": "channel",
    "attention-inputs": "attention input",
    "attention-outputs": "attention output",
    "feed-forward-inputs": "feed-forward input",
    "feed-forward-outputs": "feed-forward output",
    "sublayers": "sublayer",
    "blocks": "block",
}


class Cut(NamedTuple):
    """What goes of one linear layer with every unit: its rows (dim 0) or columns (dim 1)."""

    linear: nn.Linear
    dim: int
    places: Tensor
    """Which ones of the dense layer, `[units, width]`, int64, on the CPU."""

    def costs(self) -> Tensor:
        """Count the weights that go with each unit, `[units]`: 0 where they are gone already."""
        held = places_held(self.linear, self.dim)
        if held is None:
            there = torch.ones_like(self.places)
        else:
            there = torch.isin(self.places, held.cpu())
        return there.sum(dim=1) * self.linear.weight.shape[1 - self.dim]

    def owned(self, values: Tensor) -> Tensor:
        """Return what each unit has of `values [out, in]`, `[units, width, other dimension]`.

        These are its rows or columns of the weight, or of anything shaped like that of a layer
        which holds all of them.
        """
        rows = values.movedim(self.dim, 0)  # a unit's own in dimension 0
        return rows[self.places.to(rows.device)]


def kv_group_cuts(attention: Attention) -> list[Cut]:
    """What goes with a KV group: a key and a value head, their query heads and columns of o."""
    queries = _queries(attention).flatten(start_dim=1)
    keys = _keys(attention)
    return [
        Cut(attention.q, 0, queries),
        Cut(attention.k, 0, keys),
        Cut(attention.v, 0, keys),
        Cut(attention.o, 1, queries),
    ]


def query_head_cuts(attention: Attention) -> list[Cut]:
    """What goes with a query head: its rows of q and columns of o.

    Key and value heads stay, also when none of their query heads is left; those go as KV groups.
    """
    heads = _queries(attention).flatten(end_dim=1)
    return [Cut(attention.q, 0, heads), Cut(attention.o, 1, heads)]


def value_dim_cuts(attention: Attention) -> list[Cut]:
    """What goes with a dimension of a value head: a row of v, a column of o for each query head.

    Units are numbered as the rows of v.
    """
    columns = _queries(attention).transpose(1, 2)  # [kv heads, head size, group]
    return [
        Cut(attention.v, 0, _keys(attention).view(-1, 1)),
        Cut(attention.o, 1, columns.flatten(end_dim=1)),
    ]


def rotary_pair_cuts(attention: Attention) -> list[Cut]:
    """What goes with a pair of dimensions of a key head that are rotated together, `c` and `c + h`.

    Two rows of k and of each of its query heads, where `h` is half of the head size; unit
    `g * h + c` is of key head `g`. What is left keeps its angles, and scores their scale. Norms of
    queries and keys see zeros there. Raises `BadInput` for a family that rotates nothing.
    """
    if not attention.family.rotary:
        raise BadInput(
            f"{attention.family.name} has no rotary pairs: it adds positions to the embedding and "
            "does not rotate queries and keys; remove other units"
        )
    half = attention.head_size // 2
    queries = _queries(attention).unflatten(-1, (2, half))  # [kv heads, group, 2, half]
    keys = _keys(attention).unflatten(-1, (2, half))
    return [
        Cut(attention.q, 0, queries.permute(0, 3, 1, 2).flatten(end_dim=1).flatten(start_dim=1)),
        Cut(attention.k, 0, keys.transpose(1, 2).flatten(end_dim=1)),
    ]


def channel_cuts(feed_forward: FeedForward) -> list[Cut]:
    """What goes with a feed-forward channel: a row of gate (if any) and up, a column of down."""
    channels = torch.arange(feed_forward.channels).view(-1, 1)
    inner = [Cut(linear, 0, channels) for linear in feed_forward.inner]
    return [*inner, Cut(feed_forward.down, 1, channels)]


def hidden_cuts(linears: list[nn.Linear], dim: int) -> list[Cut]:
    """What goes with a dimension of the residual stream that layers read (dim 1) or write (dim 0).

    A row of the output layer with its bias, or a column of each of those that read.
    """
    dims = torch.arange((linears[0].out_features, linears[0].in_features)[dim]).view(-1, 1)
    return [Cut(linear, dim, dims) for linear in linears]


def cuts(block: Block, kind: Kind) -> list[Cut]:
    """Return what goes with the units of one kind inside a block.

    Raises `BadInput` for another kind, and naming the reason for one that the family does not have.
    """
    attention, feed_forward = block.attention, block.feed_forward
    if kind == "channels":
        return channel_cuts(feed_forward)
    if kind == "attention-inputs":
        return hidden_cuts([attention.q, attention.k, attention.v], 1)
    if kind == "attention-outputs":
        return hidden_cuts([attention.o], 0)
    if kind == "feed-forward-inputs":
        return hidden_cuts(feed_forward.inner, 1)
    if kind == "feed-forward-outputs":
        return hidden_cuts([feed_forward.down], 0)
    of_attention: dict[str, Callable[[Attention], list[Cut]]] = {
        "kv-groups": kv_group_cuts,
        "query-heads": query_head_cuts,
        "value-dims": value_dim_cuts,
        "rotary-pairs": rotary_pair_cuts,
    }
    if kind not in of_attention:
        known = ", ".join(name for name in NAMES if name not in ("sublayers", "blocks"))
        raise BadInput(f"there are no units {kind!r} inside a block; there are {known}")
    return of_attention[kind](attention)


def unit_costs(block: Block, *kinds: Kind) -> Tensor:
    """Count the weights that each unit of a block takes with it, `[units]`, kind by kind.

    Units of two kinds may share weights, as query heads and rotary pairs do; each counts them.
    """
    counted = [torch.empty(0, dtype=torch.int64)]
    for kind in kinds:
        if kind == "blocks":
            counted.append(torch.tensor([block_weights(block)]))
        elif kind == "sublayers":
            parts = unit_costs(block, "kv-groups"), unit_costs(block, "channels")
            counted.append(torch.stack([part.sum() for part in parts]))
        elif kind in NAMES:
            counted.append(torch.stack([cut.costs() for cut in cuts(block, kind)]).sum(dim=0))
        else:
            raise BadInput(f"what a unit of {kind!r} costs is not known; let the method count it")
    return torch.cat(counted)


def block_weights(block: Block) -> int:
    """Count the weights of all linear layers of a block, those that a method added included."""
    return sum(linear.weight.numel() for linear in _all_linears(block).values())


def residual_widths(block: Block) -> tuple[int, int, int] | None:
    """Return the width of the residual before, between the halves of and behind a rotated block.

    None where the block was not rotated.
    """
    # By name, because the file of a checkpoint has a class of its own.
    attn, mlp = (getattr(block.module, name, None) for name in ("attn_shortcut", "mlp_shortcut"))
    if attn is None or mlp is None:
        return None
    return attn.in_features, attn.out_features, mlp.out_features


def widths_left(model: LanguageModel) -> dict[str, list[int]]:
    """Return how many KV groups and channels each block has, as methods record it."""
    return {
        "kv_groups": [block.attention.kv_heads for block in model.blocks],
        "channels": [block.feed_forward.channels for block in model.blocks],
    }


class Weights(NamedTuple):
    """Weights of the linear layers inside the decoder blocks; norms and biases not counted."""

    all: int
    nonzero: int


def count_weights(model: LanguageModel, damaged: str = "check the model") -> Weights:
    """Count what budgets are counted in, opening one block at a time.

    Raises `NumericsError` naming the first tensor with NaN or infinity, also a norm, a bias, the
    embedding or the head, and `damaged`, the likely reason.
    """
    everything = nonzero = 0
    for name, tensor in model.outside().items():
        _check_finite(tensor, name, damaged)
    for block in model.visit():
        linears = _all_linears(block)
        for name, linear in linears.items():
            _check_finite(linear.weight, f"block {block.index}, {name}", damaged)
            nonzero += int(torch.count_nonzero(linear.weight))
        counted = {id(linear.weight) for linear in linears.values()}
        for name, tensor in block.module.named_parameters():
            if id(tensor) not in counted:
                _check_finite(tensor, f"block {block.index}, {name}", damaged)
        everything += block_weights(block)
    return Weights(everything, nonzero)


def _check_finite(tensor: Tensor, name: str, damaged: str) -> None:
    if not bool(tensor.isfinite().all()):
        raise NumericsError(f"{name}: the weights contain NaN or infinity; {damaged}")


def _queries(attention: Attention) -> Tensor:
    """Return the rows of q, which are the columns of o, `[kv heads, group, head size]`."""
    count = attention.heads * attention.head_size
    return torch.arange(count).view(attention.kv_heads, attention.group, attention.head_size)


def _keys(attention: Attention) -> Tensor:
    """Return the rows of k, which are those of v, `[kv heads, head size]`."""
    count = attention.kv_heads * attention.head_size
    return torch.arange(count).view(attention.kv_heads, attention.head_size)


def _all_linears(block: Block) -> dict[str, nn.Linear]:
    """Return every linear layer inside a block, by its role or, where it has none, its path."""
    roles = {linear: role for role, linear in block.linears().items()}
    return {
        roles.get(module, path): module
        for path, module in block.module.named_modules()
        if isinstance(module, nn.Linear)
    }
