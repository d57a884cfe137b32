"""Unit magnitude: scores, weights of units, global ranking, and the real model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from implementations.harness import LanguageModel, unit_costs
from implementations.harness.contract.tiny import MODEL_TYPES, tiny_model
from implementations.harness.model.units import count_weights
from implementations.unitmagnitude import UnitMagnitude
from implementations.unitmagnitude.unitmagnitude import score

pytestmark = pytest.mark.usefixtures("without_gradients")

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))


def costs(block) -> Tensor:
    return unit_costs(block, *UnitMagnitude.capabilities.granularity)


def filled(value: float, **settings) -> LanguageModel:
    """Return a tiny model all of whose linear weights have one value."""
    model = tiny_model(**settings)
    for _, _, linear in model.linears():
        linear.weight.fill_(value)
    return model


def small(gate: list, up: list, down: list) -> LanguageModel:
    """Return a block of hidden size 2, one head and as many channels as `gate` has rows."""
    model = filled(
        0.0,
        blocks=1,
        hidden_size=2,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=2,
        intermediate_size=len(gate),
    )
    part = model.blocks[0].feed_forward
    for linear, rows in ((part.gate, gate), (part.up, up), (part.down, down)):
        linear.weight.copy_(torch.tensor(rows))
    return model


def test_a_channel_by_hand():
    # Channel 0: gate 3 4, up 0 0, down 0 0: the root of 25 / 6. Channel 1: 1 1, 1 1, 1 1: 1.
    model = small([[3.0, 4.0], [1.0, 1.0]], [[0.0, 0.0], [1.0, -1.0]], [[0.0, 1.0], [0.0, 1.0]])
    assert score(model.blocks[0]).tolist() == pytest.approx([0.0, (25 / 6) ** 0.5, 1.0])


def test_a_kv_group_by_hand():
    model = filled(0.0)  # llama: hidden 32, two groups of two heads of 8
    attention = model.blocks[0].attention
    attention.k.weight[8:].fill_(2.0)  # 8 * 32 weights of the second group
    attention.o.weight[:, 16:].fill_(1.0)  # 32 * 16 of it
    groups = score(model.blocks[0])[:2]
    squares = 256 * 4 + 512 * 1
    assert groups.tolist() == pytest.approx([0.0, (squares / 1536) ** 0.5])


def test_squares_are_summed_in_double_precision():
    model = filled(300.0, dtype=torch.float16)  # its square is not finite in fp16
    values = score(model.blocks[0])
    assert values.dtype == torch.float64
    assert set(values.tolist()) == {300.0}


@every_family
def test_equal_weights_give_equal_scores(family: str):
    # A plain norm would put every KV group above every channel.
    model = filled(-0.25, family=family)
    for block in model.blocks:
        assert score(block).tolist() == [0.25] * len(costs(block))


@every_family
def test_weights_count_for_their_unit(family: str):
    model = filled(0.0, family=family, num_key_value_heads=2)
    block = model.blocks[0]
    size, groups, cost = block.attention.head_size, block.attention.kv_heads, costs(block)
    width = {"q": block.attention.group * size, "o": block.attention.group * size}
    width |= {"k": size, "v": size}
    for role, linear in block.linears().items():
        sides = linear.weight.T if role in ("o", "down") else linear.weight
        for place in (0, len(sides) - 1):
            sides[place, 1] = 3.0
            unit = place // width[role] if role in width else groups + place
            found = score(block)
            assert found.nonzero().flatten().tolist() == [unit], (role, place)
            assert float(found[unit]) == pytest.approx(3.0 / float(cost[unit]) ** 0.5)
            sides[place, 1] = 0.0


@pytest.mark.parametrize("family", ["qwen2", "opt"])
def test_ignores_biases_and_signs(family: str):
    block = tiny_model(family).blocks[0]
    before = score(block)
    for linear in block.linears().values():
        linear.weight.neg_()
        if linear.bias is not None:
            linear.bias.fill_(100.0)
    assert torch.equal(score(block), before)


@every_family
def test_removes_the_lowest_scores_of_the_whole_model(family: str):
    model = tiny_model(family, blocks=3)
    scores = [score(block) for block in model.blocks]
    groups = [block.attention.kv_heads for block in model.blocks]
    outcome = UnitMagnitude(sparsity=0.4).apply(model)
    left = sum(outcome.details["kv_groups"]) + sum(outcome.details["channels"])
    ranked = torch.cat(scores).sort().values
    removed = len(ranked) - left
    edge = float(ranked[removed - 1] + ranked[removed]) / 2
    for index, (mine, n) in enumerate(zip(scores, groups, strict=True)):
        assert outcome.details["kv_groups"][index] == int((mine[:n] > edge).sum())
        assert outcome.details["channels"][index] == int((mine[n:] > edge).sum())
    for block, mine in zip(model.blocks, scores, strict=True):
        torch.testing.assert_close(score(block), mine[mine > edge])  # the survivors, untouched


@pytest.mark.model
def test_on_real_blocks_small_units_matter_and_widths_adapt(first_blocks):
    pruned = first_blocks.pruned("unitmagnitude", sparsity=0.2)
    dense = count_weights(first_blocks.dense).all
    unit = UnitMagnitude().largest_unit(first_blocks.dense)
    assert abs(count_weights(pruned).all - 0.8 * dense) <= unit / 2
    assert len({block.feed_forward.channels for block in pruned.blocks}) > 1
    shares = (0.02, 0.1, 0.3)
    errors = [first_blocks.error("unitmagnitude", sparsity=share) for share in shares]
    assert errors == sorted(errors)
    # What a method that looks at activations is better than.
    assert first_blocks.error("flap", sparsity=0.1) < errors[1]
