"""Evaluations that begin at a block equal whole ones, and run nothing before it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from implementations.harness import LanguageModel, Tokens, masked, perplexity, prefixes
from implementations.harness.contract.side_effects import state
from implementations.harness.contract.tiny import (
    MODEL_TYPES,
    ShutModel,
    random_tokens,
    tiny_model,
)
from implementations.harness.errors import NumericsError


def without(model: LanguageModel, *indices: int) -> Tensor:
    return torch.zeros(len(model.blocks), dtype=torch.bool).index_fill(0, torch.tensor(indices), 1)


def losses(model: LanguageModel, tokens: Tokens, begin: bool) -> list[float]:
    """Return the perplexity without each block, and without its MLP."""
    values = []
    for block, start_here in prefixes(model, tokens):
        silent = torch.zeros(len(model.blocks), 2, dtype=torch.bool)
        silent[block.index, 1] = True
        masks = (
            masked(model, without(model, block.index), "blocks"),
            masked(model, silent.flatten(), "sublayers"),
        )
        for mask in masks:
            if begin:
                with start_here(), mask:
                    values.append(perplexity(model, tokens).value)
            else:
                with mask:
                    values.append(perplexity(model, tokens).value)
    return values


@pytest.mark.parametrize("family", list(MODEL_TYPES))
def test_evaluations_equal_whole_ones(family):
    model, tokens = tiny_model(family, blocks=3), random_tokens(5, batch_size=2)
    before = state(model)
    found = losses(model, tokens, begin=True)
    assert found == pytest.approx(losses(model, tokens, begin=False), rel=1e-6)
    assert len(set(found)) == len(found)
    assert state(model) == before


def test_evaluations_of_a_model_that_is_read_block_by_block():
    model, tokens = tiny_model(blocks=3), random_tokens(5, batch_size=2)
    expected = losses(model, tokens, begin=False)
    shut = ShutModel(model)
    assert losses(shut, tokens, begin=True) == pytest.approx(expected, rel=1e-6)


def test_blocks_before_do_not_run():
    model, tokens, ran = tiny_model(blocks=4), random_tokens(3, batch_size=2), []
    for block in model.blocks:
        linear = block.feed_forward.down
        linear.register_forward_hook(lambda *_, index=block.index: ran.append(index))
    for block, start_here in prefixes(model, tokens):
        ran.clear()
        with start_here():
            perplexity(model, tokens)
        assert ran == 2 * list(range(block.index, 4))
        ran.clear()
        perplexity(model, tokens)
        assert ran == 2 * [0, 1, 2, 3]


def test_masked_blocks_stay_masked():
    model, tokens, found = tiny_model(blocks=4), random_tokens(3, batch_size=2), []
    with masked(model, without(model, 0, 1, 3), "blocks"):
        expected = perplexity(model, tokens).value
    with masked(model, without(model, 0, 3), "blocks"):
        for block, start_here in prefixes(model, tokens):
            if block.index == 1:
                with start_here(), masked(model, without(model, 0, 1, 3), "blocks"):
                    found.append(perplexity(model, tokens).value)
    assert found == [pytest.approx(expected, rel=1e-6)]


def test_an_evaluation_that_fails_does_not_affect_the_next():
    model, tokens = tiny_model(blocks=3), random_tokens(5, batch_size=2)
    expected = perplexity(model, tokens).value
    *_, (block, start_here) = prefixes(model, tokens)
    calls = []

    def spoil(_: object, __: object, output: Tensor) -> Tensor:
        calls.append(1)
        return output * float("nan")

    handle = block.feed_forward.down.register_forward_hook(spoil)
    with start_here(), pytest.raises(NumericsError):
        perplexity(model, tokens)
    handle.remove()
    assert len(calls) == 1  # stopped at the first of three micro-batches
    with start_here():
        assert perplexity(model, tokens).value == pytest.approx(expected, rel=1e-6)
