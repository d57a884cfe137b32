"""Really removing the units of a model, and adding biases that compensate.

Everything is edited in place and keeps its dtype, device and `requires_grad`. The configuration's
head and channel counts are left alone, because blocks may differ: `checkpoint.save` writes those
that fit. Each removal has a masking twin that zeroes what the removal would cut off; both give the
same outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from implementations.harness.errors import BadInput, NumericsError
from implementations.harness.model.modeling_pruned import (
    count_heads,
    found,
    hold,
    shrink,
    take_heads,
)
from implementations.harness.model.units import (
    NAMES,
    Cut,
    Kind,
    channel_cuts,
    cuts,
    kv_group_cuts,
    widths_left,
)
from implementations.harness.model.view import Attention, Block, FeedForward, LanguageModel

Units = Tensor | Sequence[int] | Sequence[bool]

# Lists in a configuration that have one entry a block.
PER_BLOCK = ("layer_types", "pruned_shapes")


def keep_units(block: Block, kind: Kind, keep: Units) -> None:
    """Remove all units of one kind inside a block but `keep`.

    `keep` holds numbers of units or is a boolean mask `[units]`, both as `unit_costs` counts them.
    KV groups and channels leave smaller layers; of query heads, value dimensions and rotary pairs
    the rows (with biases) and columns go from inside `IndexedLinear`s, and the numbers of the
    others stay. A sublayer leaves empty layers and an output bias, if any, of zero. Keeping what
    is gone already changes nothing. Raises `BadInput` for a unit that does not exist and for a
    kind that the family does not have.
    """
    if kind == "kv-groups":
        keep_kv_groups(block.attention, keep)
    elif kind == "channels":
        keep_channels(block.feed_forward, keep)
    elif kind == "sublayers":
        silenced = _silence_others(block, keep)
        if block.attention.o in silenced:
            keep_kv_groups(block.attention, [])
        if block.feed_forward.down in silenced:
            keep_channels(block.feed_forward, [])
    else:
        _cut(hold, cuts(block, kind), keep, NAMES[kind])


def mask_units(block: Block, kind: Kind, keep: Units) -> None:
    """Zero what `keep_units` would remove; shapes stay, outputs are those of the removal."""
    if kind == "sublayers":
        _silence_others(block, keep)
        return
    _cut(_zero_others, cuts(block, kind), keep, NAMES[kind])


def keep_kv_groups(attention: Attention, keep: Units) -> None:
    """Remove all KV groups but `keep`: key/value heads with their query heads.

    `keep` holds group numbers or is a boolean mask `[kv_heads]`; the order stays. Rows of q, k, v
    (with biases) and columns of o go. Keeping none empties the attention, whose output is then
    the bias of o, or zero. Raises `BadInput` for a group that does not exist.
    """
    group = attention.group
    kept = _cut(shrink, kv_group_cuts(attention), keep, NAMES["kv-groups"])
    count_heads(attention.module, kept * group, kept)
    if kept == 0:
        take_heads(attention.module)


def keep_channels(feed_forward: FeedForward, keep: Units) -> None:
    """Remove all intermediate channels of a feed-forward part but `keep`.

    `keep` holds channel numbers or is a boolean mask `[channels]`; the order stays. Rows of gate
    and up (with biases) and columns of down go. Keeping none leaves the bias of down, or zero.
    Raises `BadInput` for a channel that does not exist.
    """
    _cut(shrink, channel_cuts(feed_forward), keep, NAMES["channels"])


def mask_kv_groups(attention: Attention, keep: Units) -> None:
    """Zero what `keep_kv_groups` would remove; shapes stay, outputs are those of the removal."""
    _cut(_zero_others, kv_group_cuts(attention), keep, NAMES["kv-groups"])


def mask_channels(feed_forward: FeedForward, keep: Units) -> None:
    """Zero what `keep_channels` would remove; shapes stay, outputs are those of the removal."""
    _cut(_zero_others, channel_cuts(feed_forward), keep, NAMES["channels"])


def remove_units(model: LanguageModel, gone: Tensor) -> dict[str, list[int]]:
    """Remove the KV groups and channels marked in `gone`; return how many each block has left.

    `gone` is boolean, `[units]`, block by block, the KV groups of a block before its channels.
    Raises `BadInput` for another number of units.
    """
    counts = list(zip(*widths_left(model).values(), strict=True))  # [blocks][KV groups, channels]
    if gone.shape != (sum(map(sum, counts)),):
        raise BadInput(f"a mask of shape {list(gone.shape)} does not fit the model's units")
    kept = (~gone).split([count for both in counts for count in both])
    for index, block in enumerate(model.visit()):
        keep_kv_groups(block.attention, kept[2 * index])
        keep_channels(block.feed_forward, kept[2 * index + 1])
    return widths_left(model)


def remove_blocks(model: LanguageModel, indices: Units) -> None:
    """Remove whole decoder blocks by number or boolean mask `[blocks]`.

    The others are renumbered in the cache and in the configuration, and keep their kind (sliding
    window or full attention). Raises `BadInput` for a block that does not exist and when nothing
    would be left.
    """
    removed = set(chosen(indices, len(model.layers), "block").tolist())
    kept = [block for block in model.blocks if block.index not in removed]
    refuse_emptied(kept)
    for index in sorted(removed, reverse=True):
        del model.layers[index]
    for index, layer in enumerate(model.layers):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = index  # type: ignore[assignment]
    for name in PER_BLOCK:
        entries = getattr(model.config, name, None)
        if entries is not None:
            setattr(model.config, name, [entries[block.index] for block in kept])
    model.config.num_hidden_layers = len(kept)


def add_bias(linear: nn.Linear, bias: Tensor) -> None:
    """Add `bias [out]` to the bias of a linear layer, which is created where there is none.

    Of an indexed linear `out` are the rows held. The sum is made in the wider of both dtypes and
    stored in that of the weight. Raises `BadInput` for another shape and `NumericsError` for NaN or
    infinity.
    """
    if bias.shape != linear.weight.shape[:1]:
        raise BadInput(f"a bias of shape {list(bias.shape)} does not fit {linear}")
    if not bool(bias.isfinite().all()):
        raise NumericsError("the bias to add contains NaN or infinity; check the statistics")
    bias = bias.detach().to(linear.weight.device)
    if linear.bias is None:
        linear.bias = nn.Parameter(
            bias.to(linear.weight.dtype, copy=True), requires_grad=linear.weight.requires_grad
        )
    else:
        linear.bias.data.copy_(linear.bias.data + bias)


def refuse_emptied(blocks: Sequence[Block]) -> None:
    """Raise `BadInput` when no attention and no feed-forward part of `blocks` puts out anything."""
    if not any(
        linear.weight.numel()
        for block in blocks
        for linear in (block.attention.o, block.feed_forward.down)
    ):
        raise BadInput("this would empty the model: nothing is left in any block; prune less")


def chosen(units: Units, count: int, what: str) -> Tensor:
    """Return the numbers of the chosen units, ascending, `int64`, on the CPU.

    `units` is a boolean mask `[count]` or holds numbers in `[0, count)`, each once, in any order;
    otherwise `BadInput` names the first wrong one, called a `what`.
    """
    given = torch.as_tensor(units).detach().cpu()
    if given.dtype == torch.bool:
        if given.shape != (count,):
            raise BadInput(f"a mask of shape {list(given.shape)} does not fit {count} {what}s")
        return given.nonzero().flatten()
    if given.numel() == 0:
        return torch.empty(0, dtype=torch.int64)
    if given.ndim != 1 or given.is_floating_point() or given.is_complex():
        raise BadInput(f"{what}s are chosen by a list of numbers or a boolean mask, not {units!r}")
    numbers = given.long().sort().values
    for number in numbers[(numbers < 0) | (numbers >= count)].tolist():
        raise BadInput(f"there is no {what} {number}; there are {count}, counted from 0")
    for number in numbers[1:][numbers[1:] == numbers[:-1]].tolist():
        raise BadInput(f"{what} {number} is named twice")
    return numbers


def _cut(
    edit: Callable[[nn.Linear, int, Tensor], None], parts: list[Cut], keep: Units, what: str
) -> int:
    """Let `edit` leave of every part what goes with the units `keep`, and count those."""
    kept = chosen(keep, len(parts[0].places), what)
    for linear, dim, places in parts:
        edit(linear, dim, places[kept].flatten())
    return len(kept)


def _silence_others(block: Block, keep: Units) -> list[nn.Linear]:
    """Let the sublayers of a block but `keep` put out zero, and return what did put it out."""
    outputs = block.attention.o, block.feed_forward.down
    kept = chosen(keep, len(outputs), NAMES["sublayers"]).tolist()
    silenced = [linear for unit, linear in enumerate(outputs) if unit not in kept]
    for linear in silenced:
        for parameter in linear.parameters():
            parameter.data.zero_()
    return silenced


def _zero_others(linear: nn.Linear, dim: int, keep: Tensor) -> None:
    others = torch.ones(linear.weight.shape[dim], dtype=torch.bool)
    others[found(linear, dim, keep).cpu()] = False
    others = others.to(linear.weight.device)
    linear.weight.data.movedim(dim, 0)[others] = 0
    if dim == 0 and linear.bias is not None:
        linear.bias.data[others] = 0
