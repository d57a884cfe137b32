"""MINI-LLM: directional derivatives, gradient estimates, scores, a real model."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import Tensor

from implementations.harness import (
    BadInput,
    LanguageModel,
    NumericsError,
    backwalk,
    walk,
)
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.minillm import MiniLLM
from implementations.minillm.minillm import estimated, no_gradient, weight_scores
from implementations.minillm.perturbation import direction

pytestmark = pytest.mark.usefixtures("without_gradients")

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))


def scores(model: LanguageModel, tokens, **settings) -> list[list[Tensor]]:
    """Score the units of every block, `[blocks][kinds]`, with gradients back-propagated or none."""
    method = MiniLLM(**settings)
    inputs = []
    for block in walk(model, tokens, edits=False):
        inputs.append(method.observe(block))
    if method.gradient == "none":
        return [method.score(block, inputs[block.index], no_gradient) for block in model.blocks]
    found = []
    for block in backwalk(model, tokens, gradients=inputs[0]):
        found.insert(0, method.score(block, inputs[block.index], block.gradients.get))
    return found


# The estimate


@every_family
def test_slope_is_the_directional_derivative(family: str):
    model, tokens = tiny_model(family, dtype=torch.float64), random_tokens(samples=1)
    gradients = {}
    for back in backwalk(model, tokens, gradients=model.blocks[0].linears()):
        for role, gradient in back.gradients.items():
            gradients[back.index, role] = gradient
    size = sum(float(gradient.square().sum()) for gradient in gradients.values()) ** 0.5
    torch.manual_seed(5)
    for seed, slope in MiniLLM(directions=3, epsilon=1e-4).slopes(model, tokens):
        along = sum(
            float((gradients[block.index, role] * direction(block, role, seed)).sum())
            for block in model.blocks
            for role in block.linears()
        )
        # Of the length of the gradient: norms round to fp32, and relu has kinks.
        assert slope == pytest.approx(along, abs=0.03 * size)


def test_central_differences_cancel_the_curvature():
    # The error of a two-sided difference falls with the square of epsilon, of a one-sided with it.
    model, tokens = tiny_model(dtype=torch.float64), random_tokens(samples=1)

    def slope(epsilon: float) -> float:
        torch.manual_seed(5)
        return MiniLLM(directions=1, epsilon=epsilon).slopes(model, tokens)[0][1]

    near, far = (abs(slope(epsilon) - slope(3e-4)) for epsilon in (3e-3, 9e-3))
    assert far / near == pytest.approx(9, rel=0.2)


def test_directions_use_samples_in_turn():
    model, tokens = tiny_model(), random_tokens(samples=2)
    seen: list[Tensor] = []
    handle = model.hf.get_input_embeddings().register_forward_pre_hook(
        lambda _, args: seen.append(args[0])
    )
    MiniLLM(directions=3).slopes(model, tokens)
    handle.remove()
    samples = [next(i for i, row in enumerate(tokens.ids) if row.equal(ids[0])) for ids in seen]
    assert samples == [0, 0, 1, 1, 0, 0]


def test_sums_before_taking_absolute_values():
    block = tiny_model().blocks[0]
    assert float(estimated(block, [(4, 1.0), (4, -1.0)], "q").abs().max()) == 0
    one = estimated(block, [(4, 2.0), (9, 1.0)], "q")
    torch.testing.assert_close(one, direction(block, "q", 4) + direction(block, "q", 9) / 2)


def test_the_cosine_grows_with_the_number_of_directions():
    block = tiny_model().blocks[0]
    weights = block.linears()["gate"].weight.numel()  # D, 1,536
    gradient = direction(block, "gate", 0)
    for n in (200, 1500):
        slopes = [
            (seed, float((gradient * direction(block, "gate", seed)).sum()))
            for seed in range(1, n + 1)
        ]
        found = estimated(block, slopes, "gate")
        cosine = torch.nn.functional.cosine_similarity(found.flatten(), gradient.flatten(), dim=0)
        assert float(cosine) == pytest.approx((n / (n + weights)) ** 0.5, rel=0.1)


# The score


def test_a_channel_without_an_output_goes_first():
    model, tokens = tiny_model(), random_tokens()
    model.blocks[0].feed_forward.down.weight[:, 7] = 0
    _, channels = scores(model, tokens, gradient="exact")[0]
    assert int(channels.argmin()) == 7
    assert float(channels[7]) == 0


def test_weight_scores_by_hand():
    weight = torch.tensor([[1.0, -2.0], [0.0, 3.0]])
    inputs, gradient = torch.tensor([2.0, 10.0]), torch.tensor([[1.0, -1.0], [5.0, 0.5]])
    assert weight_scores(weight, inputs, gradient).tolist() == [[2, 20], [0, 15]]
    assert weight_scores(weight, inputs, None).tolist() == [[2, 20], [0, 30]]
    assert weight_scores(weight, torch.zeros(2), gradient).abs().max() == 0
    assert weight_scores(weight, inputs, torch.zeros(2, 2)).abs().max() == 0


@every_family
def test_a_unit_sums_the_scores_of_all_its_weights(family: str):
    model, tokens = tiny_model(family), random_tokens()
    block = model.blocks[0]
    kv_groups, channels = scores(model, tokens, gradient="none")[0]
    by_role = {}
    for walked in walk(model, tokens, edits=False):
        seen = MiniLLM().observe(walked)
        if walked.index == 0:
            by_role = {
                role: linear.weight.abs() * seen[role] for role, linear in walked.linears().items()
            }
    c = 5
    rows = sum(float(by_role[role][c].sum()) for role in ("gate", "up") if role in by_role)
    assert float(channels[c]) == pytest.approx(rows + float(by_role["down"][:, c].sum()), rel=1e-5)
    size, wide = block.attention.head_size, block.attention.head_size * block.attention.group
    last = block.attention.kv_heads - 1
    keys, queries = slice(last * size, None), slice(last * wide, None)
    parts = [
        by_role["q"][queries],
        by_role["k"][keys],
        by_role["v"][keys],
        by_role["o"][:, queries],
    ]
    assert float(kv_groups[last]) == pytest.approx(sum(float(p.sum()) for p in parts), rel=1e-5)
    largest = scores(model, tokens, gradient="none", aggregate="max")[0][0]
    assert float(largest[last]) == pytest.approx(max(float(p.sum()) for p in parts), rel=1e-5)


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("l2", lambda x: x.norm(dim=0)),
        ("abs-mean", lambda x: x.abs().mean(dim=0)),
        ("signed-mean", lambda x: x.mean(dim=0).abs()),
    ],
)
def test_scores_use_norms_of_inputs(activation: str, expected):
    model, tokens, seen = tiny_model(), random_tokens(), []
    handle = model.blocks[0].feed_forward.down.register_forward_pre_hook(
        lambda _, args: seen.append(args[0].flatten(end_dim=-2))
    )
    model.hf(tokens.ids)
    handle.remove()
    found = None
    for block in walk(model, tokens, edits=False):
        found = MiniLLM(activation=activation).observe(block)["down"] if found is None else found
    torch.testing.assert_close(found.float(), expected(torch.cat(seen)), rtol=1e-4, atol=1e-6)


# Whole models


@every_family
def test_every_block_loses_equally_many_channels(family: str):
    model, tokens = tiny_model(family, blocks=3), random_tokens()
    dense = copy.deepcopy(model)
    outcome = MiniLLM(sparsity=0.3, gradient="exact").apply(model, tokens)
    left = outcome.details["channels"]
    assert max(left) - min(left) <= 1
    for block, was, (_, channels) in zip(
        model.blocks, dense.blocks, scores(dense, tokens, gradient="exact"), strict=True
    ):
        stay = channels.topk(block.feed_forward.channels).indices.sort().values
        assert torch.equal(block.feed_forward.up.weight, was.feed_forward.up.weight[stay])


def test_the_estimate_enters_the_scores(monkeypatch):
    slopes = [(4, 1.0), (9, -2.0)]
    monkeypatch.setattr(MiniLLM, "slopes", lambda *_: slopes)
    model, tokens, method = tiny_model(), random_tokens(), MiniLLM(sparsity=0.3)
    dense, seen = copy.deepcopy(model), []
    for block in walk(dense, tokens, edits=False):
        seen.append(method.observe(block))
    method.apply(model, tokens)
    for block, was in zip(model.blocks, dense.blocks, strict=True):
        _, channels = method.score(was, seen[was.index], partial(estimated, was, slopes))
        stay = channels.topk(block.feed_forward.channels).indices.sort().values
        assert torch.equal(block.feed_forward.up.weight, was.feed_forward.up.weight[stay])


def test_refuses_epsilon_without_effect_short_samples_and_repeated_directions():
    with pytest.raises(BadInput, match="`directions` must be at most 4,096, got 4,097"):
        MiniLLM(directions=4097).apply(tiny_model(), random_tokens())
    with pytest.raises(NumericsError, match="lost in the rounding of"):
        MiniLLM(epsilon=1e-9).apply(tiny_model(dtype=torch.bfloat16), random_tokens())
    with pytest.raises(BadInput, match="at least 2 tokens"):
        MiniLLM().apply(tiny_model(), random_tokens(length=1))


@pytest.mark.model
def test_one_direction_hardly_changes_the_order_of_real_channels(first_blocks):
    method, walked = MiniLLM(), walk(first_blocks.dense, first_blocks.short, edits=False)
    block = next(walked)
    inputs = method.observe(block)
    ranks = [
        method.score(block, inputs, gradient)[1].argsort().argsort().double()
        for gradient in (no_gradient, partial(estimated, block, [(7, 1.0)]))
    ]
    assert float(torch.corrcoef(torch.stack(ranks))[0, 1]) > 0.9  # Spearman
    walked.close()


@pytest.mark.model
def test_on_real_blocks_scores_beat_random_units(first_blocks):
    estimate = first_blocks.error("minillm", sparsity=0.2, directions=2)
    without = first_blocks.error("minillm", sparsity=0.2, gradient="none")
    assert estimate < first_blocks.error("random", sparsity=0.2) / 1.2
    assert estimate == pytest.approx(without, rel=0.3)
