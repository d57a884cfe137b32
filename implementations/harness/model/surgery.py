"""Remove units from a model, and add biases that compensate for them.

Models are edited in place; parameters keep their dtype, device and `requires_grad`. The head and
channel counts in the configuration do not change, because blocks may differ; `saving.save_model`
writes the right ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from implementations.harness.errors import BadInput, NumericsError
from implementations.harness.model.modeling_pruned import (
    hold,
    make_headless,
    set_head_counts,
    shrink,
)
from implementations.harness.model.units import (
    NAMES,
    Cut,
    Kind,
    channel_cuts,
    cuts,
    kv_group_cuts,
    query_head_cuts,
    refuse_emptied,
    widths_left,
)
from implementations.harness.model.view import Attention, Block, FeedForward, LanguageModel

Units = Tensor | Sequence[int] | Sequence[bool]

# Lists in a configuration that have one entry per block.
PER_BLOCK = ("layer_types", "pruned_shapes")


def keep_units(block: Block, kind: Kind, keep: Units) -> None:
    """Remove all units of one kind from a block except `keep`.

    `keep` has the indices of units or is a boolean mask `[units]`, in the order of `unit_costs`.
    Removing KV groups and channels makes the layers smaller. Other units lose their rows (with
    biases) and columns inside an `IndexedLinear`, where the remaining units keep their indices. A
    removed sublayer has empty layers and a zero output bias, if any. Units that were removed before
    are ignored. Raises `BadInput` for a unit that does not exist and for a kind that the family
    does not have.
    """
    if kind == "kv-groups":
        keep_kv_groups(block.attention, keep)
    elif kind == "channels":
        keep_channels(block.feed_forward, keep)
    elif kind == "experts":
        keep_experts(block, keep)
    elif kind == "sublayers":
        outputs = block.attention.o, block.feed_forward.down
        kept = chosen(keep, len(outputs), NAMES[kind]).tolist()
        if 0 not in kept:
            keep_kv_groups(block.attention, [])
        if 1 not in kept:
            keep_channels(block.feed_forward, [])
        for unit, linear in enumerate(outputs):
            if unit not in kept and linear.bias is not None:
                linear.bias.data.zero_()
    else:
        _cut(hold, cuts(block, kind), keep, NAMES[kind])


def keep_kv_groups(attention: Attention, keep: Units) -> None:
    """Remove all KV groups except `keep`: key/value heads together with their query heads.

    `keep` has group indices or is a boolean mask `[kv_heads]`; the order does not change. Removes
    rows of q, k and v (with biases) and columns of o. An attention without groups outputs the bias
    of o, or zero. Raises `BadInput` for a group that does not exist.
    """
    group = attention.group
    kept = _cut(shrink, kv_group_cuts(attention), keep, NAMES["kv-groups"])
    set_head_counts(attention.module, kept * group, kept)
    if kept == 0:
        make_headless(attention.module)


def keep_query_heads(attention: Attention, keep: Units) -> None:
    """Remove all query heads except `keep`, equally many in every KV group.

    `keep` has head indices or is a boolean mask `[heads]`; the order does not change. Removes rows
    of q (with biases) and columns of o; the layers become smaller, unlike those of `keep_units`.
    Raises `BadInput` for a head that does not exist and for groups of different or no size.
    """
    kept = chosen(keep, attention.heads, NAMES["query-heads"])
    sizes = torch.bincount(kept // attention.group, minlength=attention.kv_heads)
    if int(sizes.min()) != int(sizes.max()) or not len(kept):
        raise BadInput(
            "every KV group must keep the same number of query heads, at least one, got "
            f"{sizes.tolist()}"
        )
    _cut(shrink, query_head_cuts(attention), kept.tolist(), NAMES["query-heads"])
    set_head_counts(attention.module, len(kept), attention.kv_heads)


def keep_channels(feed_forward: FeedForward, keep: Units) -> None:
    """Remove all channels of a feed-forward part except `keep`.

    `keep` has channel indices or is a boolean mask `[channels]`; the order does not change. Removes
    rows of gate and up (with biases) and columns of down. A part without channels outputs the bias
    of down, or zero. Raises `BadInput` for a channel that does not exist.
    """
    _cut(shrink, channel_cuts(feed_forward), keep, NAMES["channels"])


def keep_experts(block: Block, keep: Units) -> None:
    """Remove all routed experts of a block except `keep`, with their rows of the router.

    `keep` has expert indices or is a boolean mask `[experts]`; the order does not change. Call
    `set_expert_count` when all blocks have the same number. Raises `BadInput` for an expert that
    does not exist, and if the router would choose more experts for a token than remain.
    """
    experts = block.experts
    if experts is None:
        raise BadInput(f"block {block.index} has no experts; remove other units")
    kept = chosen(keep, experts.count, NAMES["experts"])
    experts.check_left(len(kept), f"block {block.index}")
    for weight in experts.weights().values():
        weight.data = weight.data.index_select(0, kept.to(weight.device))
        weight.grad = None
    for module in (experts.router, experts.module):
        module.num_experts = len(kept)  # type: ignore[assignment]


def set_expert_count(model: LanguageModel) -> None:
    """Write the number of experts that all blocks with experts have to the configuration.

    Raises `BadInput` if the blocks differ, which no configuration can express.
    """
    counts = {block.experts.count for block in model.blocks if block.experts}
    if len(counts) != 1:
        raise BadInput(
            f"the blocks have {sorted(counts)} experts, but a configuration has one number for all "
            "blocks; keep equally many in every block"
        )
    # The configurations of all families know this name. The model uses its copy in a loss.
    model.config.num_experts = model.hf.num_experts = counts.pop()


def remove_units(model: LanguageModel, removed: Tensor) -> dict[str, list[int]]:
    """Remove the marked KV groups and channels, and return the number that each block has left.

    `removed` is boolean, `[units]`, block by block, the KV groups of a block before its channels.
    Raises `BadInput` for another number of units.
    """
    counts = list(zip(*widths_left(model).values(), strict=True))  # [blocks][KV groups, channels]
    units = sum(map(sum, counts))
    if removed.shape != (units,):
        raise BadInput(
            f"the mask must have one entry for each of the model's {units} units, got shape "
            f"{list(removed.shape)}"
        )
    kept = (~removed).split([count for both in counts for count in both])
    for index, block in enumerate(model.visit()):
        keep_kv_groups(block.attention, kept[2 * index])
        keep_channels(block.feed_forward, kept[2 * index + 1])
    return widths_left(model)


def remove_blocks(model: LanguageModel, indices: Units) -> None:
    """Remove whole decoder layers by index or boolean mask `[blocks]`.

    The remaining blocks are renumbered in the cache and in the configuration, and keep their type
    of attention (sliding window or full). Raises `BadInput` for a block that does not exist and if
    no block would be left.
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
    """Add `bias [out]` to the bias of a linear layer, creating one if there is none.

    For an `IndexedLinear`, `out` is the number of rows held. The sum is computed in the wider of
    the two dtypes and stored in that of the weight. Raises `BadInput` for another shape and
    `NumericsError` for NaN or infinity.
    """
    if bias.shape != linear.weight.shape[:1]:
        raise BadInput(
            f"`bias` must have one entry per row of {linear}, got shape {list(bias.shape)}"
        )
    if not bool(bias.isfinite().all()):
        raise NumericsError("`bias` contains NaN or infinity; check the statistics")
    bias = bias.detach().to(linear.weight.device)
    if linear.bias is None:
        linear.bias = nn.Parameter(
            bias.to(linear.weight.dtype, copy=True), requires_grad=linear.weight.requires_grad
        )
    else:
        linear.bias.data.copy_(linear.bias.data + bias)


def chosen(units: Units, count: int, name: str) -> Tensor:
    """Return the indices of the chosen units, ascending, `int64`, on the CPU.

    `units` is a boolean mask `[count]` or has distinct indices in `[0, count)`, in any order.
    Raises `BadInput` that names the first wrong one; a unit is called `name`.
    """
    given = torch.as_tensor(units).detach().cpu()
    if given.dtype == torch.bool:
        if given.shape != (count,):
            raise BadInput(
                f"the mask must have one entry for each of {count} {name}s, got shape "
                f"{list(given.shape)}"
            )
        return given.nonzero().flatten()
    if given.numel() == 0:
        return torch.empty(0, dtype=torch.int64)
    if given.ndim != 1 or given.is_floating_point() or given.is_complex():
        raise BadInput(f"{name}s must be a list of indices or a boolean mask, got {units!r}")
    indices = given.long().sort().values
    for index in indices[(indices < 0) | (indices >= count)].tolist():
        raise BadInput(f"there is no {name} {index}; there are {count}, counted from 0")
    for index in indices[1:][indices[1:] == indices[:-1]].tolist():
        raise BadInput(f"{name} {index} is listed twice; list each {name} once")
    return indices


def _cut(
    edit: Callable[[nn.Linear, int, Tensor], None], parts: list[Cut], keep: Units, name: str
) -> int:
    """Apply `edit` to every part so that only the units `keep` remain, and return their number."""
    kept = chosen(keep, len(parts[0].places), name)
    for linear, dim, places in parts:
        edit(linear, dim, places[kept].flatten())
    return len(kept)
