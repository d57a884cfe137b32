"""LLM-BIP: the bound on small blocks, both paths of attention, whole models, a real model."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from implementations.harness import Block, ColumnSum, LanguageModel, Tokens, walk
from implementations.harness.contract.helpers import logits
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.llmbip import LLMBIP
from implementations.llmbip.llmbip import propagated
from tests.masking import mask_units

pytestmark = pytest.mark.usefixtures("without_gradients")

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))
double = torch.float64


def observed(model: LanguageModel, tokens: Tokens | None = None) -> list[dict[str, ColumnSum]]:
    """Return the calibration statistics of each block."""
    look = walk(model, tokens or random_tokens(), edits=False)
    return [block.observe(ColumnSum, "o", "down") for block in look]


def feed_forward(block: Block, y: Tensor) -> Tensor:
    """Return the output of a block without norms and gate for the stream after attention."""
    up, down = (
        linear.weight.double() for linear in (block.feed_forward.up, block.feed_forward.down)
    )
    return y + (y @ up.T).relu() @ down.T


# The bound


def test_score_bounds_the_effect_of_a_channel():
    # A ReLU without gate and norm, where the formula is a true bound, channel by channel.
    block = tiny_model("opt").blocks[0]
    o, down = block.attention.o.weight.double(), block.feed_forward.down.weight.double()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 32, generator=generator, dtype=double)
    heads = torch.randn(40, o.shape[1], generator=generator, dtype=double)
    everything = feed_forward(block, x + heads @ o.T)
    up = block.feed_forward.up.weight.double()
    reach = torch.eye(32, dtype=double) + up.abs().T @ down.abs().T  # I + |W_U| |W_D|
    for j in range(o.shape[1]):
        without = heads.clone()
        without[:, j] = 0
        moved = (feed_forward(block, x + without @ o.T) - everything).abs()
        bound = heads[:, j, None].abs() * (o[:, j].abs() @ reach)
        assert (moved <= bound + 1e-9).all()
        # What the method makes of it, summed over the outputs.
        summed = heads[:, j].abs() * (o[:, j].abs() @ propagated(block))
        torch.testing.assert_close(summed, bound.sum(dim=1))


def test_score_equals_the_effect_of_a_channel():
    block = tiny_model("llama").blocks[0]
    down = block.feed_forward.down.weight.double()
    inner = torch.randn(40, 48, generator=torch.Generator().manual_seed(0), dtype=double)
    seen = {"o": ColumnSum(32), "down": ColumnSum(48)}
    for statistic in seen.values():
        statistic.update(inner[:, : len(statistic.sums)])
    _, scores = LLMBIP().score(block, seen)
    for j in (0, 17, 47):
        without = inner.clone()
        without[:, j] = 0
        moved = ((inner - without) @ down.T).abs().sum()
        assert float(scores[j]) == pytest.approx(float(moved), rel=1e-5)


def test_the_bound_is_reached_where_all_is_positive_and_linear():
    block = tiny_model("opt").blocks[0]
    for linear in (block.attention.o, block.feed_forward.up, block.feed_forward.down):
        linear.weight.abs_()
    heads = torch.rand(40, 32, generator=torch.Generator().manual_seed(0), dtype=double)
    o = block.attention.o.weight.double()
    seen = {"o": ColumnSum(32), "down": ColumnSum(48)}
    seen["o"].update(heads)
    groups, _ = LLMBIP().score(block, seen)
    for group in range(block.attention.kv_heads):
        without = heads.clone().view(40, block.attention.kv_heads, -1)
        without[:, group] = 0
        moved = feed_forward(block, heads @ o.T) - feed_forward(block, without.flatten(1) @ o.T)
        assert float(groups[group]) == pytest.approx(float(moved.sum()), rel=1e-5)


@every_family
def test_scores_against_the_product_of_matrices(family: str):
    model = tiny_model(family)
    block, seen = model.blocks[0], observed(model)[0]
    up, down, o = (
        linear.weight.double().abs()
        for linear in (block.feed_forward.up, block.feed_forward.down, block.attention.o)
    )
    reach = torch.eye(len(o), dtype=double) + up.T @ down.T  # [hidden, hidden], rows in
    torch.testing.assert_close(propagated(block), reach.sum(dim=1))
    by_channel = seen["o"].sums.double() * (o.T @ reach).sum(dim=1)
    expected = by_channel.view(block.attention.kv_heads, -1).sum(dim=1)
    groups, channels = LLMBIP().score(block, seen)
    torch.testing.assert_close(groups, expected)
    torch.testing.assert_close(channels, seen["down"].sums.double() * down.sum(dim=0))


def test_without_the_feed_forward_path_the_score_is_that_of_the_layer():
    model = tiny_model("llama")
    block, seen = model.blocks[0], observed(model)[0]
    layer = seen["o"].sums.double() * block.attention.o.weight.double().abs().sum(dim=0)
    expected = layer.view(block.attention.kv_heads, -1).sum(dim=1)
    torch.testing.assert_close(LLMBIP(propagate=False).score(block, seen)[0], expected)
    assert not torch.allclose(LLMBIP().score(block, seen)[0], expected)
    block.feed_forward.down.weight.zero_()
    torch.testing.assert_close(LLMBIP().score(block, seen)[0], expected)


def test_feed_forward_path_affects_the_ranking():
    # Two heads write as much, but only what the second writes is read by the feed-forward part.
    model = tiny_model("llama", num_key_value_heads=4)
    block, seen = model.blocks[0], observed(model)[0]
    o, up = block.attention.o, block.feed_forward.up
    seen["o"].sums.fill_(1)
    o.weight.zero_()
    for head in range(4):
        o.weight[head, head * 8 : head * 8 + 8] = 1  # head h writes feature h
    o.weight[0] *= 1.5
    up.weight.zero_()
    up.weight[:, 1:4] = 1
    groups, _ = LLMBIP().score(block, seen)
    assert int(groups.argmin()) == 0
    assert int(LLMBIP(propagate=False).score(block, seen)[0].argmin()) != 0


# Whole models


@every_family
def test_removes_the_lowest_scores_of_each_block_and_kind(family: str):
    model = tiny_model(family, blocks=3)
    dense, seen = copy.deepcopy(model), observed(model)
    outcome = LLMBIP(sparsity=0.4).apply(model, random_tokens())
    for index, (was, now) in enumerate(zip(dense.blocks, model.blocks, strict=True)):
        groups, channels = LLMBIP().score(was, seen[index])
        left = outcome.details["channels"][index]
        best = sorted(channels.argsort(descending=True)[:left].tolist())
        assert torch.equal(now.feed_forward.up.weight, was.feed_forward.up.weight[best])
        heads = groups.argsort(descending=True)[: outcome.details["kv_groups"][index]].sort().values
        rows = was.attention.v.weight.view(len(groups), was.attention.head_size, -1)[heads]
        assert torch.equal(now.attention.v.weight, rows.flatten(end_dim=1))
    # Alike in every block, but for what rounding carries on.
    assert max(outcome.details["channels"]) - min(outcome.details["channels"]) <= 1


@every_family
def test_slicing_equals_masking(family: str):
    model = tiny_model(family, num_key_value_heads=2)
    masked, seen = copy.deepcopy(model), observed(model)
    outcome = LLMBIP(sparsity=0.4).apply(model, random_tokens())
    for index, block in enumerate(masked.blocks):
        scores = LLMBIP().score(block, seen[index])
        for values, key, kind in (
            (scores[0], "kv_groups", "kv-groups"),
            (scores[1], "channels", "channels"),
        ):
            kept = values.argsort(descending=True)[: outcome.details[key][index]]
            mask_units(block, kind, kept)
    tokens = random_tokens(seed=1)
    torch.testing.assert_close(logits(model, tokens), logits(masked, tokens), rtol=1e-4, atol=1e-4)


def test_removes_silent_channel_first():
    model = tiny_model("opt")
    model.blocks[1].feed_forward.up.weight[5], model.blocks[1].feed_forward.up.bias[5] = 0, -1.0
    row = model.blocks[1].feed_forward.up.bias.clone()
    LLMBIP(sparsity=0.1).apply(model, random_tokens())
    assert -1.0 in row
    assert -1.0 not in model.blocks[1].feed_forward.up.bias


def test_a_unit_of_each_kind_stays_in_every_block():
    model = tiny_model()
    outcome = LLMBIP(sparsity=LLMBIP().reach(model)).apply(model, random_tokens())
    assert outcome.details == {"kv_groups": [1, 1], "channels": [1, 1]}


def test_the_calibration_passes_each_block_once():
    model, calls = tiny_model(blocks=3), []
    for index, layer in enumerate(model.layers):
        layer.self_attn.register_forward_pre_hook(lambda *_, index=index: calls.append(index))
    LLMBIP().apply(model, random_tokens(samples=6, batch_size=2))
    assert calls == [0] * 3 + [1] * 3 + [2] * 3


@pytest.mark.model
def test_on_real_blocks_its_channels_beat_random_ones(first_blocks):
    error = first_blocks.error("llmbip", sparsity=0.04)  # less than one KV group in four blocks
    assert 0 < error < first_blocks.error("random", sparsity=0.04)
