"""Wanda: masks by hand, the effect of input norms, the walk, and the real model."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from implementations.harness.contract.helpers import logits
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.wanda import Wanda
from implementations.wanda.wanda import scores
from tests.observation import inputs


def mask(weight: Tensor, norms: Tensor, method: Wanda) -> Tensor:
    """Mark what the method removes of one matrix, given the norms of its inputs."""
    return method.choose(scores(weight, norms))


def removed(weight: list[list[float]], norms: list[float], **settings) -> list[list[int]]:
    """Return the columns removed from each row."""
    removed = mask(torch.tensor(weight), torch.tensor(norms), Wanda(**settings))
    return [row.nonzero().flatten().tolist() for row in removed]


def test_scores_are_weights_times_norms_in_fp32():
    # In bf16 the norms would round to 256 and 258 and both scores to 258.
    weight = torch.tensor([[1.0078125, -1.0]], dtype=torch.bfloat16)
    assert scores(weight, torch.tensor([257.0, 258.5])).tolist() == [[1.0078125 * 257, 258.5]]


def test_small_weight_of_a_large_input_beats_large_weight_of_a_small_input():
    # Scores 8 6 4 2 and, the weights turned round, 2 4 6 8 of norms 8 3 4/3 1/2.
    norms = [8.0, 3.0, 4 / 3, 0.5]
    assert removed([[1.0, 2, 3, 4]], norms, sparsity=0.5) == [[2, 3]]
    assert removed([[0.25, -4 / 3, 4.5, -16]], norms, sparsity=0.5) == [[0, 1]]


def test_compares_weights_within_rows():
    # Scores of row 1 are a thousand times those of row 0; both lose two.
    rows = [[0.003, -0.001, 0.004, 0.002], [-2.0, 4, 1, -3]]
    assert removed(rows, [1.0, 1, 1, 1], sparsity=0.5) == [[1, 3], [0, 2]]


def test_removes_weights_of_silent_inputs_first():
    W, norms = torch.randn(16, 8, generator=torch.Generator().manual_seed(0)), torch.ones(8)
    norms[[1, 6]] = 0
    W[:, [1, 6]] = 100.0  # however large
    expected = (norms == 0).expand(16, 8)
    assert torch.equal(mask(W, norms, Wanda(sparsity=0.25)), expected)


@pytest.mark.parametrize(("loud", "lost"), [(1, 0), (4, 0), (5, 1)])
def test_loud_inputs_lose_weights_only_if_they_are_more_than_half(loud: int, lost: int):
    W, norms = torch.randn(16, 8, generator=torch.Generator().manual_seed(0)), torch.ones(8)
    norms[:loud] = 1e6
    removed = mask(W, norms, Wanda(sparsity=0.5))
    assert (removed[:, :loud].sum(dim=1) == lost).all()


def test_scaling_inputs_and_their_weights_back_does_not_change_the_mask():
    dense, calibration, config = tiny_model(), random_tokens(), Wanda(sparsity=0.5)
    scaled = copy.deepcopy(dense)
    factors = 2.0 ** (torch.arange(32) % 7 - 3)  # powers of two, so that nothing is rounded
    for block, layer in zip(scaled.blocks, scaled.layers, strict=True):
        layer.input_layernorm.weight.data *= factors
        for role in ("q", "k", "v"):
            block.linears()[role].weight.data /= factors
    assert torch.equal(logits(scaled, calibration), logits(dense, calibration))
    ones = torch.ones(32)  # magnitude pruning by row
    first, second = (model.blocks[0].linears()["q"].weight for model in (dense, scaled))
    assert not torch.equal(mask(first, ones, config), mask(second, ones, config))
    for model in (dense, scaled):
        config.apply(model, calibration)
    for (_, _, one), (_, _, other) in zip(dense.linears(), scaled.linears(), strict=True):
        assert torch.equal(one.weight == 0, other.weight == 0)


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_each_block_sees_the_pruned_ones_before_it_and_itself_dense(family):
    calibration, config = random_tokens(8, 24), Wanda(sparsity=0.5)
    dense = tiny_model(family, blocks=3)
    result = copy.deepcopy(dense)
    config.apply(result, calibration)
    half = copy.deepcopy(result)
    half.layers[2].load_state_dict(dense.layers[2].state_dict())  # blocks 0 and 1 pruned
    for model, agrees in ((half, True), (dense, False), (result, False)):
        same = []
        for role, linear in dense.blocks[2].linears().items():
            norms = inputs(model, model.blocks[2].linears()[role], calibration).norm(dim=0)
            removed = mask(linear.weight, norms.float(), config)
            same.append(torch.equal(removed, result.blocks[2].linears()[role].weight == 0))
        assert all(same) == agrees


def test_survivors_keep_their_value():
    dense = tiny_model()
    model = copy.deepcopy(dense)
    outcome = Wanda(sparsity=0.25).apply(model, random_tokens())
    for (_, _, before), (_, _, after) in zip(dense.linears(), model.linears(), strict=True):
        kept = after.weight != 0
        assert (kept.sum(dim=1) == 0.75 * before.in_features).all()
        assert torch.equal(after.weight[kept], before.weight[kept])
    assert outcome.achieved == 0.25


@pytest.mark.model
def test_on_the_real_model_it_beats_magnitude(first_blocks):
    for setting in ({"sparsity": 0.5}, {"pattern": "2:4"}):
        wanda, magnitude = (first_blocks.error(s, **setting) for s in ("wanda", "magnitude"))
        assert wanda < magnitude
    halves, groups, pairs = (
        first_blocks.error("wanda", **setting)
        for setting in ({"sparsity": 0.5}, {"pattern": "4:8"}, {"pattern": "2:4"})
    )
    assert halves < groups < pairs
