"""Unit magnitude: scores, weights of units, global ranking, and the real model."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from implementations.harness import BadInput, LanguageModel, unit_costs
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
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


@every_family
def test_equal_weights_give_equal_scores(family: str):
    # A plain norm would put every KV group above every channel.
    model = filled(-0.25, family=family)
    for block in model.blocks:
        assert score(block).tolist() == [0.25] * len(costs(block))


@every_family
def test_squares_times_costs_add_up_to_the_norm_of_the_block(family: str):
    for block in tiny_model(family).blocks:
        norm = sum(float(w.weight.double().square().sum()) for w in block.linears().values())
        assert float((score(block).square() * costs(block)).sum()) == pytest.approx(norm)


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


def test_permuting_channels_permutes_their_scores():
    block = tiny_model().blocks[0]
    before, order = score(block), torch.randperm(48, generator=torch.Generator().manual_seed(0))
    part = block.feed_forward
    part.gate.weight.data = part.gate.weight[order]
    part.up.weight.data = part.up.weight[order]
    part.down.weight.data = part.down.weight[:, order]
    torch.testing.assert_close(score(block)[2:], before[2:][order])
    assert torch.equal(score(block)[:2], before[:2])


@every_family
@pytest.mark.parametrize("sparsity", [0.1, 0.4, 0.7])
def test_removes_the_lowest_scores_of_the_whole_model(family: str, sparsity: float):
    model = tiny_model(family, blocks=3)
    scores = [score(block) for block in model.blocks]
    groups = [block.attention.kv_heads for block in model.blocks]
    dense, unit = count_weights(model).all, UnitMagnitude().unit(model)
    outcome = UnitMagnitude(sparsity=sparsity).apply(model)
    assert abs(dense - count_weights(model).all - sparsity * dense) <= unit / 2
    left = sum(outcome.details["kv_groups"]) + sum(outcome.details["channels"])
    ranked = torch.cat(scores).sort().values
    gone = len(ranked) - left
    edge = float(ranked[gone - 1] + ranked[gone]) / 2
    for index, (mine, n) in enumerate(zip(scores, groups, strict=True)):
        assert outcome.details["kv_groups"][index] == int((mine[:n] > edge).sum())
        assert outcome.details["channels"][index] == int((mine[n:] > edge).sum())
    for block, mine in zip(model.blocks, scores, strict=True):
        torch.testing.assert_close(score(block), mine[mine > edge])  # the survivors, untouched


def test_ranking_depends_on_the_scale_of_blocks_but_not_of_the_model():
    def left(*scales: float) -> dict:
        model = tiny_model(blocks=2)
        for block, scale in zip(model.blocks, scales, strict=True):
            for linear in block.linears().values():
                linear.weight.mul_(scale)
        return UnitMagnitude(sparsity=0.4).apply(model).details

    assert left(8, 8) == left(1, 1)
    for kind, dense in (("kv_groups", 2), ("channels", 48)):
        loud, quiet = left(8, 1)[kind]
        assert quiet < left(1, 1)[kind][1] <= loud == dense


def test_seed_and_text_do_not_matter():
    first, second = tiny_model(), tiny_model()
    UnitMagnitude(sparsity=0.4).apply(first, seed=0)
    UnitMagnitude(sparsity=0.4).apply(second, random_tokens(), seed=7)
    pairs = zip(first.hf.parameters(), second.hf.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_pruned_model_can_be_pruned_again():
    model = tiny_model(blocks=3)
    for linear in model.blocks[0].linears().values():
        linear.weight.mul_(0.01)  # so that the whole block goes first
    UnitMagnitude(sparsity=0.4).apply(model)
    assert model.blocks[0].attention.kv_heads == model.blocks[0].feed_forward.channels == 0
    once = count_weights(model).all
    UnitMagnitude(sparsity=0.3).apply(model)
    assert abs(count_weights(model).all - 0.7 * once) <= UnitMagnitude().unit(tiny_model()) / 2


def test_an_emptied_model_is_refused():
    model = tiny_model()
    before = copy.deepcopy(model.hf.state_dict())
    with pytest.raises(BadInput, match="empty the model"):
        UnitMagnitude(sparsity=1.0).apply(model)
    assert all(torch.equal(after, before[name]) for name, after in model.hf.state_dict().items())


@pytest.mark.model
def test_on_real_blocks_small_units_matter_and_widths_adapt(first_blocks):
    pruned = first_blocks.pruned("unitmagnitude", sparsity=0.2)
    dense = count_weights(first_blocks.dense).all
    unit = UnitMagnitude().unit(first_blocks.dense)
    assert abs(count_weights(pruned).all - 0.8 * dense) <= unit / 2
    assert len({block.feed_forward.channels for block in pruned.blocks}) > 1
    shares = (0.02, 0.1, 0.3)
    errors = [first_blocks.error("unitmagnitude", sparsity=share) for share in shares]
    assert errors == sorted(errors)
    # What a method that looks at activations is better than.
    assert first_blocks.error("flap", sparsity=0.1) < errors[1]
