"""LLM-BIP: the bound on small blocks, both paths of attention, whole models, a real model."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from implementations.harness import Block, ColumnSum, LanguageModel, Tokens, walk
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.llmbip import LLMBIP
from implementations.llmbip.llmbip import propagated

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
        # The score of the method is the bound summed over the outputs.
        summed = heads[:, j].abs() * (o[:, j].abs() @ propagated(block))
        torch.testing.assert_close(summed, bound.sum(dim=1))


def test_channel_scores_are_what_the_output_loses_without_the_channel():
    model = tiny_model("opt")
    block, tokens = model.blocks[0], random_tokens()
    _, channels = LLMBIP().score(block, observed(model, tokens)[0])
    down = block.feed_forward.down
    outputs: list[Tensor] = []
    handle = down.register_forward_hook(lambda _, __, y: outputs.append(y.double()))
    for j in (0, 5, 11):
        dense = down.weight[:, j].clone()
        model.hf(tokens.ids)
        down.weight[:, j] = 0
        model.hf(tokens.ids)
        down.weight[:, j] = dense
        kept, left = outputs[-2:]
        assert float((kept - left).abs().sum()) == pytest.approx(float(channels[j]), rel=1e-4)
    handle.remove()
    down.weight[:, 7] = 0
    assert int(LLMBIP().score(block, observed(model, tokens)[0])[1].argmin()) == 7


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
    # Equal in every block, up to rounding that is carried over.
    assert max(outcome.details["channels"]) - min(outcome.details["channels"]) <= 1


def test_every_block_keeps_a_unit_of_each_kind():
    model = tiny_model(blocks=3)
    most = LLMBIP().max_sparsity(model)
    details = LLMBIP(sparsity=most).apply(model, random_tokens()).details
    assert details == {"kv_groups": [1] * 3, "channels": [1] * 3}


@pytest.mark.model
def test_on_real_blocks_its_channels_beat_random_ones(first_blocks):
    error = first_blocks.error("llmbip", sparsity=0.04)  # less than one KV group in two blocks
    assert 0 < error < first_blocks.error("random", sparsity=0.04)
