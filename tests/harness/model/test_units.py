"""Units, their costs, and the number of weights, in every family."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from torch import nn

from implementations.harness import NumericsError, cuts, unit_costs
from implementations.harness.contract.tiny import MODEL_TYPES, tiny_model
from implementations.harness.model.units import Weights, count_weights

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))


def sizes(block) -> int:
    return sum(linear.weight.numel() for linear in block.linears().values())


@every_family
def test_kv_groups_and_channels_have_all_weights_of_a_block(family):
    for block in tiny_model(family).blocks:
        groups, channels = (unit_costs(block, kind) for kind in ("kv-groups", "channels"))
        assert len(groups) == block.attention.kv_heads
        assert len(channels) == block.feed_forward.channels
        assert unit_costs(block, "blocks").tolist() == [sizes(block)]
        assert int(groups.sum() + channels.sum()) == sizes(block)
        assert unit_costs(block, "kv-groups", "channels").tolist() == [*groups, *channels]


@every_family
def test_count_excludes_norms_and_biases(family):
    model = tiny_model(family)
    weights = [linear.weight for _, _, linear in model.linears()]
    everything = sum(weight.numel() for weight in weights)
    assert count_weights(model) == Weights(everything, everything)
    weights[3].data[:2] = 0
    assert count_weights(model) == Weights(everything, everything - 2 * weights[3].shape[1])


def test_count_includes_added_layers():
    model = tiny_model()
    block = model.blocks[1]
    before, cost = count_weights(model), unit_costs(block, "blocks")
    block.feed_forward.up.rotation = nn.Linear(5, 7)
    assert count_weights(model) == Weights(before.all + 35, before.nonzero + 35)
    assert unit_costs(block, "blocks") == cost + 35


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_error_names_damaged_weights_and_gives_advice(value):
    model = tiny_model("opt")
    added = copy.deepcopy(model)
    model.blocks[1].attention.k.weight.data[2, 3] = value
    with pytest.raises(NumericsError, match=r"block 1, k: .* NaN or infinity; check the model$"):
        count_weights(model)
    with pytest.raises(NumericsError, match=r"infinity; load it again$"):
        count_weights(model, "load it again")
    added.blocks[0].module.rotation = nn.Linear(5, 7)
    added.blocks[0].module.rotation.weight.data[0] = value
    with pytest.raises(NumericsError, match="block 0, rotation: "):
        count_weights(added)


@pytest.mark.parametrize(
    "name",
    [
        "block 1, input_layernorm.weight",
        "block 0, self_attn.q_norm.weight",
        "model.norm.weight",
        "model.embed_tokens.weight",
    ],
)
def test_error_names_damaged_norm_or_embedding(name):
    model = tiny_model("qwen3")
    path = name.replace("block ", "model.layers.").replace(", ", ".")
    model.hf.get_parameter(path).data[3] = float("nan")
    with pytest.raises(NumericsError, match=f"^{re.escape(name)}: .* NaN or infinity; check the"):
        count_weights(model)


@every_family
def test_owned_returns_rows_and_columns_of_each_unit(family):
    block = tiny_model(family).blocks[0]
    for kind in ("kv-groups", "query-heads", "value-dims", "channels"):
        costs = torch.zeros(len(unit_costs(block, kind)), dtype=torch.int64)
        for part in cuts(block, kind):
            numbers = torch.arange(part.linear.weight.numel()).view_as(part.linear.weight)
            own = part.owned(numbers)  # [units, width, other dimension]
            for unit, places in zip(own, part.places, strict=True):
                rows = numbers[places] if part.dim == 0 else numbers.T[places]
                assert torch.equal(unit, rows)
            costs += own[0].numel()
        assert torch.equal(costs, unit_costs(block, kind))


@every_family
def test_sublayers_cost_all_kv_groups_and_all_channels(family):
    for block in tiny_model(family).blocks:
        attention, feed_forward = unit_costs(block, "sublayers").tolist()
        assert attention == int(unit_costs(block, "kv-groups").sum())
        assert feed_forward == int(unit_costs(block, "channels").sum())
