"""The units that structured methods remove, and their costs in weights.

This module defines which rows and columns of which linear layers belong to a unit. Surgery removes
them and costs count them. Budgets count the weights of the linear layers inside decoder layers, and
those of experts and routers.

Removing KV groups and channels makes a layer smaller. Query heads, value dimensions and rotary
pairs are removed inside a layer that keeps its width (`IndexedLinear`), so the remaining units keep
their indices. The same holds for the dimensions of the residual stream that an attention or a
feed-forward part reads (inputs) or writes (outputs): each part can lose different ones, and the
stream keeps its width. The two sublayers of a block are its attention and its feed-forward part, in
this order. An expert consists of its slices of the tensors with the weights of all experts, and of
its row of the router.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from implementations.harness.errors import BadInput, NumericsError
from implementations.harness.model.modeling_pruned import ROTATIONS, SHORTCUTS, held_indices
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
    "experts",
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
    "experts": "expert",
    "sublayers": "sublayer",
    "blocks": "block",
}

UNCUT = ("experts", "sublayers", "blocks")
"""Kinds of units that are not rows and columns of linear layers."""


class Cut(NamedTuple):
    """The rows (dim 0) or columns (dim 1) of one linear layer that belong to each unit."""

    linear: nn.Linear
    dim: int
    places: Tensor
    """Indices in the dense layer, `[units, width]`, int64, on the CPU."""

    def costs(self) -> Tensor:
        """Return the number of weights of each unit, `[units]`; 0 if they were removed before."""
        held = held_indices(self.linear, self.dim)
        if held is None:
            there = torch.ones_like(self.places)
        else:
            there = torch.isin(self.places, held.cpu())
        return there.sum(dim=1) * self.linear.weight.shape[1 - self.dim]

    def owned(self, values: Tensor) -> Tensor:
        """Return the rows or columns of `values [out, in]` of each unit, `[units, width, other]`.

        `values` has the shape of the dense weight.
        """
        rows = values.movedim(self.dim, 0)
        return rows[self.places.to(rows.device)]


def kv_group_cuts(attention: Attention) -> list[Cut]:
    """Return the parts of a KV group: a key and a value head, their query heads, columns of o."""
    queries = _queries(attention).flatten(start_dim=1)
    keys = _keys(attention)
    return [
        Cut(attention.q, 0, queries),
        Cut(attention.k, 0, keys),
        Cut(attention.v, 0, keys),
        Cut(attention.o, 1, queries),
    ]


def query_head_cuts(attention: Attention) -> list[Cut]:
    """Return the parts of a query head: its rows of q and columns of o.

    Key and value heads remain even if all their query heads are removed.
    """
    heads = _queries(attention).flatten(end_dim=1)
    return [Cut(attention.q, 0, heads), Cut(attention.o, 1, heads)]


def value_dim_cuts(attention: Attention) -> list[Cut]:
    """Return the parts of a value dimension: a row of v, and a column of o per query head.

    Units have the order of the rows of v.
    """
    columns = _queries(attention).transpose(1, 2)  # [kv heads, head size, group]
    return [
        Cut(attention.v, 0, _keys(attention).view(-1, 1)),
        Cut(attention.o, 1, columns.flatten(end_dim=1)),
    ]


def rotary_pair_cuts(attention: Attention) -> list[Cut]:
    """Return the parts of a rotary pair: the dimensions `c` and `c + h` of a key head.

    These are two rows of k and two of each of its query heads. `h` is half of the head size, and
    unit `g * h + c` belongs to key head `g`. The remaining pairs keep their angles, and attention
    scores their scale. Norms of queries and keys see zeros. Raises `BadInput` for a family without
    rotary embeddings.
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
    """Return the parts of a channel: rows of gate (if any) and up, a column of down."""
    channels = torch.arange(feed_forward.channels).view(-1, 1)
    inner = [Cut(linear, 0, channels) for linear in feed_forward.inner]
    return [*inner, Cut(feed_forward.down, 1, channels)]


def hidden_cuts(linears: list[nn.Linear], dim: int) -> list[Cut]:
    """Return the parts of a residual dimension that `linears` read (dim 1) or write (dim 0)."""
    dims = torch.arange((linears[0].out_features, linears[0].in_features)[dim]).view(-1, 1)
    return [Cut(linear, dim, dims) for linear in linears]


def cuts(block: Block, kind: Kind) -> list[Cut]:
    """Return the rows and columns of linear layers that belong to the units of one kind in a block.

    Raises `BadInput` for an unknown kind and for one that the family does not have.
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
        known = ", ".join(name for name in NAMES if name not in UNCUT)
        raise BadInput(f"unknown kind of units inside a block: {kind!r}; use {known}")
    return of_attention[kind](attention)


def unit_costs(block: Block, *kinds: Kind) -> Tensor:
    """Return the number of weights of each unit of a block, `[units]`, kind by kind.

    Units of two kinds may share weights (query heads and rotary pairs do), which both count.
    """
    counted = [torch.empty(0, dtype=torch.int64)]
    for kind in kinds:
        if kind == "blocks":
            counted.append(torch.tensor([block_weights(block)]))
        elif kind == "experts":
            experts = block.experts
            counted.append(torch.tensor([experts.cost] * experts.count if experts else []).long())
        elif kind == "sublayers":
            parts = unit_costs(block, "kv-groups"), unit_costs(block, "channels")
            counted.append(torch.stack([part.sum() for part in parts]))
        elif kind in NAMES:
            counted.append(torch.stack([cut.costs() for cut in cuts(block, kind)]).sum(dim=0))
        else:
            raise BadInput(f"unknown kind of units {kind!r}; use {', '.join(NAMES)}")
    return torch.cat(counted)


def weights_of(block: Block) -> dict[str, nn.Parameter]:
    """Return the weights of a block that budgets count, by role or else by path.

    These are the weights of all linear layers, including added ones, and of experts and router.
    """
    weights = {
        name: cast(nn.Parameter, linear.weight) for name, linear in _all_linears(block).items()
    }
    return weights | (block.experts.weights() if block.experts else {})


def block_weights(block: Block) -> int:
    """Return the number of weights of a block that budgets count."""
    return sum(weight.numel() for weight in weights_of(block).values())


def total_weights(model: LanguageModel) -> int:
    """Return the number of weights of all blocks that budgets count."""
    return sum(map(block_weights, model.blocks))


def residual_widths(block: Block) -> tuple[int, int, int] | None:
    """Return the residual width before, between the halves of, and after a block with shortcuts.

    Returns None if the block has no shortcut matrices.
    """
    # Looked up by name, because the code file of a checkpoint defines its own class.
    attn, mlp = (getattr(block.module, name, None) for name in SHORTCUTS)
    if not isinstance(attn, nn.Linear) or not isinstance(mlp, nn.Linear):
        return None
    return attn.in_features, attn.out_features, mlp.out_features


def rotations(block: Block) -> list[str]:
    """Return the names of the matrices at the entry and the exit of a block, if there are any."""
    return [name for name in ROTATIONS if isinstance(getattr(block.module, name, None), nn.Linear)]


def rotated(block: Block) -> bool:
    """Return whether matrices change the basis of the residual stream in or around a block."""
    return bool(residual_widths(block) or rotations(block))


def experts_left(model: LanguageModel) -> dict[str, list[int]]:
    """Return the number of experts of each block, in the form methods record; 0 without experts."""
    return {"experts": [block.experts.count if block.experts else 0 for block in model.blocks]}


def widths_left(model: LanguageModel) -> dict[str, list[int]]:
    """Return the number of KV groups and channels of each block, in the form methods record."""
    return {
        "kv_groups": [block.attention.kv_heads for block in model.blocks],
        "channels": [block.feed_forward.channels for block in model.blocks],
    }


class Weights(NamedTuple):
    """Number of weights in the decoder layers that budgets count: without norms and biases."""

    all: int
    nonzero: int


def count_weights(model: LanguageModel, advice: str = "check the model") -> Weights:
    """Count the weights that budgets refer to, opening one block at a time.

    Raises `NumericsError` that names the first tensor of the model with NaN or infinity, including
    norms, biases, embedding and head, and gives `advice`.
    """
    everything = nonzero = 0
    for name, tensor in model.outside().items():
        _check_finite(tensor, name, advice)
    for block in model.visit():
        weights = weights_of(block)
        for name, weight in weights.items():
            _check_finite(weight, f"block {block.index}, {name}", advice)
            nonzero += int(torch.count_nonzero(weight))
        counted = {id(weight) for weight in weights.values()}
        for name, tensor in block.module.named_parameters():
            if id(tensor) not in counted:
                _check_finite(tensor, f"block {block.index}, {name}", advice)
        everything += block_weights(block)
    return Weights(everything, nonzero)


def _check_finite(tensor: Tensor, name: str, advice: str) -> None:
    # The extremes are NaN or infinite if a value is. Unlike a mask, they take no memory.
    if tensor.numel() and not bool(torch.stack(tensor.aminmax()).isfinite().all()):
        raise NumericsError(f"{name}: the weights contain NaN or infinity; {advice}")


def _queries(attention: Attention) -> Tensor:
    """Return the row indices of q (and column indices of o), `[kv heads, group, head size]`."""
    count = attention.heads * attention.head_size
    return torch.arange(count).view(attention.kv_heads, attention.group, attention.head_size)


def _keys(attention: Attention) -> Tensor:
    """Return the row indices of k (and of v), `[kv heads, head size]`."""
    count = attention.kv_heads * attention.head_size
    return torch.arange(count).view(attention.kv_heads, attention.head_size)


def _all_linears(block: Block) -> dict[str, nn.Linear]:
    """Return every linear layer inside a block, by its role or else its path."""
    roles = {linear: role for role, linear in block.linears().items()}
    return {
        roles.get(module, path): module
        for path, module in block.module.named_modules()
        if isinstance(module, nn.Linear)
    }


def refuse_emptied(blocks: Sequence[Block]) -> None:
    """Raise `BadInput` if no attention and no feed-forward part of `blocks` has any weights."""
    if not any(weight.numel() for block in blocks for weight in _outputs(block)):
        raise BadInput("this would empty the model: no block has any weights left; prune less")


def _outputs(block: Block) -> list[Tensor]:
    """Return the weights that write to the residual stream."""
    experts = block.experts
    down = experts.weights()["down_proj"] if experts else block.feed_forward.down.weight
    return [block.attention.o.weight, down]
