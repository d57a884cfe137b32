"""Minitron: scores by hand, heads per group, candidate shapes, depth, a real model."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from implementations.harness import (
    BadInput,
    ShapeChoices,
    UniformShape,
    keep_channels,
    perplexity,
    remove_blocks,
    shape_of,
    smallest,
)
from implementations.harness.contract.helpers import fingerprint, logits, same
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.model.units import total_weights
from implementations.minitron import Minitron, minitron
from implementations.minitron.minitron import MeanActivation, Scores, importance
from tests.masking import mask_units
from tests.observation import inputs

pytestmark = pytest.mark.usefixtures("without_gradients")


def fed(*batches: Tensor) -> Tensor:
    """Return the scores of batches `[samples, tokens, features]`."""
    statistic = MeanActivation(batches[0].shape[-1])
    for batch in batches:
        statistic.update(batch)
    return statistic.scores


# Scores


def test_mean_over_tokens_then_l2_over_samples():
    # The other order, L2 over all tokens, would rank the second feature first: 4 < 4.84.
    x = torch.tensor([[[1, 2.2], [1, 0]], [[1, 0], [1, 0]]])  # [samples, tokens, features]
    torch.testing.assert_close(fed(x), torch.tensor([2**0.5, 1.1]))


def test_activations_of_both_signs_do_not_cancel():
    torch.testing.assert_close(fed(torch.tensor([[[1.0], [-1.0]]])), torch.tensor([1.0]))


def test_scores_depend_on_samples_but_not_on_batches():
    x = torch.randn(6, 8, 5, generator=torch.Generator().manual_seed(0))
    together = fed(x)
    torch.testing.assert_close(fed(x[:1], x[1:4], x[4:]), together)
    torch.testing.assert_close(fed(x.flip(0)), together)
    assert not torch.allclose(fed(x.reshape(12, 4, 5)), together)


def test_scores_are_those_of_plain_passes():
    model, tokens = tiny_model("qwen2"), random_tokens()
    seen = importance(model, tokens)

    def score(linear) -> Tensor:
        x = inputs(model, linear, tokens).unflatten(0, tokens.ids.shape)
        return x.abs().mean(dim=1).square().sum(dim=0).sqrt()

    hidden = sum(  # the sum of the roots, over both norms of every block
        score(one) for b in model.blocks for one in (b.attention.q, b.feed_forward.up)
    )
    torch.testing.assert_close(seen.hidden.double(), hidden, rtol=1e-5, atol=1e-5)
    for block, heads, channels in zip(model.blocks, seen.heads, seen.channels, strict=True):
        of_heads = score(block.attention.o).view(4, 8).square().sum(dim=1).sqrt()
        torch.testing.assert_close(heads.double(), of_heads, rtol=1e-5, atol=1e-5)
        of_channels = score(block.feed_forward.down)
        torch.testing.assert_close(channels.double(), of_channels, rtol=1e-5, atol=1e-5)


def test_every_kv_group_keeps_its_own_strongest_heads():
    heads = torch.tensor([[9.0, 8.0, 1.0, 2.0], [1.0, 2.0, 4.0, 3.0]])  # one loud group per block
    scores = Scores(torch.ones(32), heads, torch.ones(2, 48), kv_heads=2)
    kept = scores.kept(replace(shape_of(tiny_model()), group=1)).heads
    assert kept.tolist() == [[True, False, False, True], [False, True, True, False]]


def test_one_set_of_hidden_dimensions_for_the_whole_model():
    model, tokens = tiny_model("qwen2", blocks=3), random_tokens()
    expected = smallest(-importance(model, tokens).hidden, 24)
    dense = copy.deepcopy(model)
    kept = importance(model, tokens).kept(replace(shape_of(model), hidden=24))
    minitron.cut_to_shape(model, kept.hidden, list(kept.heads), list(kept.channels))
    for block, before in zip(model.blocks, dense.blocks, strict=True):
        assert torch.equal(block.attention.o.weight, before.attention.o.weight[expected])
        assert torch.equal(block.feed_forward.up.weight, before.feed_forward.up.weight[:, expected])
    assert torch.equal(model.embedding, dense.embedding[:, expected])


def test_dead_dimension_is_removed_first():
    model, tokens = tiny_model("qwen2"), random_tokens()
    model.embedding[:, 5] = 0
    for block in model.blocks:
        for linear in block.writers:
            linear.weight[5] = 0
    assert int(importance(model, tokens).hidden.argmin()) == 5


def test_removed_channels_equal_masked_ones():
    # No other hidden size or number of heads is allowed, so only channels are removed.
    model, tokens = tiny_model("qwen2"), random_tokens()
    weakest = Minitron(sparsity=0.15, most=0.3, hidden_multiple=32, channel_multiple=1)
    assert [s.hidden for s in weakest.candidates(model)] == [32]
    large, scores = copy.deepcopy(model), importance(model, tokens)
    weakest.apply(model, tokens)
    count = model.blocks[0].feed_forward.channels
    assert count < 48
    for block, channels in zip(large.blocks, scores.channels, strict=True):
        mask_units(block, "channels", smallest(-channels, count))
    torch.testing.assert_close(logits(model), logits(large), rtol=1e-4, atol=1e-4)


# Shapes


def test_every_candidate_meets_the_budget():
    model = tiny_model("llama", blocks=3)
    dense, method = (
        shape_of(model),
        Minitron(sparsity=0.2, most=0.5, hidden_multiple=4, channel_multiple=2),
    )
    shapes = method.candidates(model)
    assert len({(shape.hidden, shape.heads) for shape in shapes}) == len(shapes) > 2
    for shape in shapes:
        assert abs(shape.weights - 0.8 * dense.weights) <= dense.channel_weights
        assert shape.hidden % shape.heads == 0
        assert shape.hidden >= 0.5 * 32
        assert shape.channels >= 0.5 * 48
        assert shape.channels == 48 or shape.channels % 2 == 0
    assert shapes[0].heads == 4
    fewer = method.model_copy(update={"shapes": 2}).candidates(model)
    assert fewer == [shapes[0], shapes[len(shapes) // 2]]


def test_candidates_are_thinned_out_evenly():
    model = tiny_model("llama", blocks=3)
    settings = {"sparsity": 0.2, "most": 0.8, "hidden_multiple": 1, "channel_multiple": 1}
    shapes = Minitron(**settings).candidates(model)
    assert len(shapes) > 3
    fewer = Minitron(**settings, shapes=2).candidates(model)
    assert fewer == [shapes[0], shapes[len(shapes) // 2]]


def test_shapes_of_the_embedded_model():
    # 576 hidden dimensions, 9 heads in 3 groups, 1,536 channels, 30 blocks.
    dense = UniformShape(576, 3, 1536, 30, 3, 64, 2)
    assert dense.weights == 106_168_320
    shapes = ShapeChoices(dense, 0.4, 8, 8).near(0.8 * dense.weights)
    found = [(one.hidden, one.heads, one.channels) for one in shapes]
    assert (576, 9, 1128) in found
    assert (504, 9, 1360) in found
    assert {one.heads for one in shapes} == {9, 6}
    assert len(shapes) <= 10


def test_the_candidate_with_the_lowest_perplexity_is_cut_out():
    model, tokens = tiny_model("llama"), random_tokens()
    method = Minitron(sparsity=0.2, hidden_multiple=4, channel_multiple=4)
    scores, dense = importance(model, tokens), copy.deepcopy(model)
    before = fingerprint(model)
    candidates = method.candidates(model)
    tried = [method.loss(model, tokens, scores.kept(shape)) for shape in candidates]
    assert same(before, fingerprint(model))
    outcome = method.apply(model, tokens)
    assert outcome.details["perplexities"] == pytest.approx(tried)
    best = candidates[tried.index(min(tried))]
    assert outcome.details["shape"] == best.summary
    assert shape_of(model) == best
    assert len(set(tried)) > 1
    # The gates measure the model that is cut out.
    assert perplexity(model, tokens).value == pytest.approx(min(tried), rel=1e-4)
    for shape, value in zip(candidates, tried, strict=True):
        other, kept = copy.deepcopy(dense), scores.kept(shape)
        minitron.cut_to_shape(other, kept.hidden, list(kept.heads), list(kept.channels))
        assert perplexity(other, tokens).value == pytest.approx(value, rel=1e-4)


def test_refuses_models_and_settings_without_a_shape():
    # 40 % of the channels are too few, and a hidden size of 24 is too small.
    with pytest.raises(BadInput, match="lower `hidden_multiple`"):
        Minitron(sparsity=0.2).apply(tiny_model("qwen3"), random_tokens())
    model = tiny_model()
    keep_channels(model.blocks[0].feed_forward, range(40))
    with pytest.raises(BadInput, match="same shape"):
        Minitron().apply(model, random_tokens())


# Depth


def test_depth_removes_the_best_of_all_runs():
    model, tokens = tiny_model("qwen2", blocks=5), random_tokens()
    values = []
    for start in range(4):
        without = copy.deepcopy(model)
        remove_blocks(without, [start, start + 1])
        values.append(perplexity(without, tokens).value)
    best = values.index(min(values))
    expected = copy.deepcopy(model)
    remove_blocks(expected, [best, best + 1])
    outcome = Minitron(axis="depth", sparsity=0.4).apply(model, tokens)
    assert outcome.details["removed"] == [best, best + 1]
    assert outcome.details["perplexities"] == pytest.approx(values, rel=1e-4)
    assert same(fingerprint(model), fingerprint(expected))


def test_depth_by_shares():
    model = tiny_model("qwen2", blocks=4)
    before = fingerprint(model)
    assert Minitron(axis="depth", sparsity=0.1).apply(model, random_tokens()).achieved == 0
    assert same(before, fingerprint(model))
    weights = total_weights(model)
    assert Minitron(axis="depth", sparsity=0.75).apply(model, random_tokens()).achieved == 0.75
    assert total_weights(model) == weights // 4
    with pytest.raises(BadInput, match=r"at most 0\.75"):
        Minitron(axis="depth", sparsity=0.8).apply(tiny_model("qwen2", blocks=4), random_tokens())


# The real model


@pytest.mark.model
def test_on_real_blocks_active_units_beat_random_ones(first_blocks):
    model, tokens = first_blocks.dense, first_blocks.short
    candidates = Minitron(sparsity=0.2).candidates(model)
    full = next(shape for shape in candidates if shape.hidden == 576 and shape.heads == 9)
    narrower = next(shape for shape in candidates if shape.hidden < 576)
    scores = importance(model, tokens)
    draws = torch.Generator().manual_seed(0)
    random = Scores(
        *(torch.rand(part.shape, generator=draws) for part in (scores.hidden, scores.heads)),
        torch.rand(scores.channels.shape, generator=draws),
        scores.kv_heads,
    )

    def apart(chosen: Scores, shape: UniformShape) -> float:
        narrow, kept = copy.deepcopy(model), chosen.kept(shape)
        minitron.cut_to_shape(narrow, kept.hidden, list(kept.heads), list(kept.channels))
        return first_blocks.divergence(narrow)

    assert apart(scores, full) < apart(random, full) / 2
    assert apart(scores, narrower) < apart(random, narrower)
