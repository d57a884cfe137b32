"""SLEB: greedy search against shortened models, blocks that do nothing, and real blocks."""

from __future__ import annotations

import copy

import pytest
import torch

from implementations.harness import (
    BadInput,
    LanguageModel,
    Tokens,
    keep_channels,
    perplexity,
    remove_blocks,
)
from implementations.harness.contract.helpers import fingerprint, same
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.sleb import SLEB

pytestmark = pytest.mark.usefixtures("without_gradients")


def shortened(model: LanguageModel, removed: list[int]) -> LanguageModel:
    smaller = copy.deepcopy(model)
    remove_blocks(smaller, removed)
    return smaller


def loss_without(model: LanguageModel, removed: list[int], text: Tokens) -> float:
    return perplexity(shortened(model, removed), text).loss


def generated_text(model: LanguageModel, samples: int = 6) -> Tokens:
    """Return text that the model itself continues, so that it needs its blocks."""
    prompts = random_tokens(samples, 4).ids
    length = {"max_new_tokens": 20, "min_new_tokens": 20, "do_sample": False}
    mask = torch.ones_like(prompts)
    return Tokens.from_ids(model.hf.generate(prompts, attention_mask=mask, **length))


def silence(model: LanguageModel, *indices: int) -> None:
    """Make blocks add zero to the residual stream."""
    for index in indices:
        block = model.blocks[index]
        for linear in (block.attention.o, block.feed_forward.down):
            linear.weight.zero_()


@pytest.mark.parametrize(("family", "seed"), [("llama", 5), ("opt", 2)])
def test_each_round_removes_the_block_missed_least_in_the_shortened_model(family, seed):
    model = tiny_model(family, blocks=7, seed=seed)
    tokens = generated_text(model)
    text = tokens.pick([0, 1, 2])
    dense, order = copy.deepcopy(model), []
    losses = [loss_without(dense, [], text)]
    alone = {j: loss_without(dense, [j], text) for j in range(1, 6)}
    for _ in range(3):
        trials = {j: loss_without(dense, [*order, j], text) for j in range(1, 6) if j not in order}
        order.append(min(trials, key=trials.__getitem__))
        losses.append(min(trials.values()))
    details = SLEB(sparsity=3 / 7, samples=3).apply(model, tokens).details
    assert details["removed"] == order
    assert details["losses"] == pytest.approx(losses, rel=1e-6)
    assert details["evaluations"] == 1 + 5 + 4 + 3
    assert same(fingerprint(model), fingerprint(shortened(dense, order)))  # others are untouched
    # A single ranking of the dense model removes other blocks, with a higher loss.
    once = sorted(alone, key=alone.__getitem__)[:3]
    assert set(once) != set(order)
    assert loss_without(dense, once, text) > losses[-1]


def test_blocks_that_do_nothing_go_first_and_in_order():
    model = tiny_model(blocks=6)
    silence(model, 2, 4)
    details = SLEB(sparsity=0.5).apply(model, generated_text(model)).details
    assert details["removed"][:2] == [2, 4]
    assert details["losses"][:3] == pytest.approx([details["losses"][0]] * 3, abs=1e-12)


@pytest.mark.parametrize(
    ("early", "late", "removed"), [(1, 1, [1]), (0, 1, [0, 1]), (1, 0, [1, 5]), (2, 0, [5])]
)
def test_barriers_protect_the_ends(early, late, removed):
    model = tiny_model(blocks=6)
    silence(model, 0, 1, 5)
    method = SLEB(sparsity=2 / 6, early=early, late=late)
    details = method.apply(model, generated_text(model)).details
    assert [index for index in details["removed"] if index in (0, 1, 5)] == removed


def test_refuses_to_remove_protected_blocks():
    model = tiny_model(blocks=6)
    assert SLEB().max_sparsity(model) == pytest.approx(4 / 6)
    assert SLEB(early=2, late=2).max_sparsity(model) == pytest.approx(2 / 6)
    with pytest.raises(BadInput, match=r"sleb can remove at most 0\.6666"):
        SLEB(sparsity=0.7).check(model, random_tokens())


def test_refuses_too_little_text_and_blocks_of_unequal_size():
    model = tiny_model(blocks=4)
    with pytest.raises(BadInput, match="on 5 windows of the calibration set, which has only 4"):
        SLEB().check(model, random_tokens(4))
    keep_channels(model.blocks[0].feed_forward, [0])
    with pytest.raises(BadInput, match="sleb needs blocks of equal size"):
        SLEB().check(model, random_tokens())


@pytest.mark.model
def test_on_the_real_model_it_removes_the_block_missed_least(four_blocks):
    text = four_blocks.short.pick([0, 1])
    losses = [loss_without(four_blocks.dense, [j], text) for j in range(4)]
    for early, late in ((0, 0), (1, 1)):
        model, tried = copy.deepcopy(four_blocks.dense), range(early, 4 - late)
        method = SLEB(sparsity=0.25, samples=2, early=early, late=late)
        details = method.apply(model, four_blocks.short).details
        assert details["removed"] == [min(tried, key=losses.__getitem__)]
        assert details["losses"][1] == pytest.approx(min(losses[j] for j in tried), rel=1e-6)
