"""Really removing KV groups, feed-forward channels and blocks, and adding biases that compensate.

Everything is edited in place and keeps its dtype, device and `requires_grad`. The configuration's
head and channel counts are left alone, because blocks may differ: `checkpoint.save` writes those
that fit. Each removal has a masking twin that zeroes what the removal would cut off; both give the
same outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from implementations.harness.errors import BadInput, NumericsError
from implementations.harness.model.modeling_pruned import count_heads, shrink, take_heads
from implementations.harness.model.units import Cut, channel_cuts, kv_group_cuts
from implementations.harness.model.view import Attention, Block, FeedForward, LanguageModel

Units = Tensor | Sequence[int] | Sequence[bool]

# Lists in a configuration that have one entry a block.
PER_BLOCK = ("layer_types", "pruned_shapes")


def keep_kv_groups(attention: Attention, keep: Units) -> None:
    """Remove all KV groups but `keep`: key/value heads with their query heads.

    `keep` holds group numbers or is a boolean mask `[kv_heads]`; the order stays. Rows of q, k, v
    (with biases) and columns of o go. Keeping none empties the attention, whose output is then
    the bias of o, or zero. Raises `BadInput` for a group that does not exist.
    """
    kept = chosen(keep, attention.kv_heads, "KV group")
    group = attention.group
    for linear, dim, width in kv_group_cuts(attention):
        shrink(linear, dim, _features(kept, width))
    count_heads(attention.module, len(kept) * group, len(kept))
    if len(kept) == 0:
        take_heads(attention.module)


def keep_channels(feed_forward: FeedForward, keep: Units) -> None:
    """Remove all intermediate channels of a feed-forward part but `keep`.

    `keep` holds channel numbers or is a boolean mask `[channels]`; the order stays. Rows of gate
    and up (with biases) and columns of down go. Keeping none leaves the bias of down, or zero.
    Raises `BadInput` for a channel that does not exist.
    """
    kept = chosen(keep, feed_forward.channels, "channel")
    for linear, dim, width in channel_cuts(feed_forward):
        shrink(linear, dim, _features(kept, width))


def mask_kv_groups(attention: Attention, keep: Units) -> None:
    """Zero what `keep_kv_groups` would remove; shapes stay, outputs are those of the removal."""
    kept = chosen(keep, attention.kv_heads, "KV group")
    _mask(kv_group_cuts(attention), kept, attention.kv_heads)


def mask_channels(feed_forward: FeedForward, keep: Units) -> None:
    """Zero what `keep_channels` would remove; shapes stay, outputs are those of the removal."""
    kept = chosen(keep, feed_forward.channels, "channel")
    _mask(channel_cuts(feed_forward), kept, feed_forward.channels)


def remove_units(model: LanguageModel, gone: Tensor) -> dict[str, list[int]]:
    """Remove the KV groups and channels marked in `gone`; return how many each block has left.

    `gone` is boolean, `[units]`, block by block, the KV groups of a block before its channels.
    Raises `BadInput` for another number of units.
    """
    counts = [(b.attention.kv_heads, b.feed_forward.channels) for b in model.blocks]
    if gone.shape != (sum(map(sum, counts)),):
        raise BadInput(f"a mask of shape {list(gone.shape)} does not fit the model's units")
    kept = (~gone).split([count for both in counts for count in both])
    for index, block in enumerate(model.visit()):
        keep_kv_groups(block.attention, kept[2 * index])
        keep_channels(block.feed_forward, kept[2 * index + 1])
    left = [int(part.sum()) for part in kept]
    return {"kv_groups": left[::2], "channels": left[1::2]}


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

    The sum is made in the wider of both dtypes and stored in that of the weight. Raises `BadInput`
    for another shape and `NumericsError` for NaN or infinity.
    """
    if bias.shape != (linear.out_features,):
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
    """Raise `BadInput` when `blocks` hold no attention head and no feed-forward channel at all."""
    if not any(block.attention.heads or block.feed_forward.channels for block in blocks):
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


def _features(units: Tensor, size: int) -> Tensor:
    """Return the rows or columns of `units` when each is `size` wide."""
    return (units[:, None] * size + torch.arange(size)).flatten()


def _mask(parts: list[Cut], kept: Tensor, count: int) -> None:
    removed = torch.ones(count, dtype=torch.bool)
    removed[kept] = False
    for linear, dim, width in parts:
        features = removed.repeat_interleave(width).to(linear.weight.device)
        linear.weight.data.movedim(dim, 0)[features] = 0
        if dim == 0 and linear.bias is not None:
            linear.bias.data[features] = 0
