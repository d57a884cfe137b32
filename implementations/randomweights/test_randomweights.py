"""Random weights: uniform selection, exact sparsity, seeds, and the real model."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from implementations.harness import LanguageModel
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.model.execution import seeded
from implementations.randomweights import RandomWeights

SHAPE = (6, 16)


def draws(count: int, **settings) -> Tensor:
    """Draw from a matrix `count` times, `[count, out, in]`, with 1 for removed weights."""
    method = RandomWeights(**settings)
    with seeded(0):
        return torch.stack([method.draw(torch.ones(SHAPE)) for _ in range(count)]).double()


def masks(seed: int, model: LanguageModel | None = None, **settings) -> list[Tensor]:
    """Prune a model and mark the removed weights of every layer."""
    model = model or tiny_model()
    RandomWeights(**settings).apply(model, seed=seed)
    return [linear.weight == 0 for _, _, linear in model.linears()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("settings", "share"),
    [
        ({"sparsity": 0.25}, 0.25),
        ({"sparsity": 0.5}, 0.5),
        ({"pattern": "2:4"}, 0.5),
        ({"pattern": "1:4"}, 0.75),
        ({"pattern": "3:8"}, 0.625),
    ],
)
def test_every_weight_is_drawn_equally_often(settings: dict, share: float):
    drawn = draws(3000, **settings)
    error = (share * (1 - share) / len(drawn)) ** 0.5
    assert drawn.mean() == pytest.approx(share, abs=1e-12)  # exactly this share every time
    assert (drawn.mean(dim=0) - share).abs().max() < 4.5 * error


def test_every_pattern_of_a_group_is_drawn_equally_often():
    groups = draws(500, pattern="2:4").reshape(-1, 4)
    codes = (groups @ torch.tensor([8.0, 4.0, 2.0, 1.0]).double()).long()
    counts = torch.bincount(codes, minlength=16)
    assert counts.nonzero().flatten().tolist() == [3, 5, 6, 9, 10, 12]  # two of four
    expected = len(groups) / 6
    chi_square = float(((counts[counts > 0] - expected).square() / expected).sum())
    assert chi_square < 20.5  # five degrees of freedom: once in a thousand


def test_every_matrix_loses_the_same_share():
    for removed in masks(0, tiny_model(blocks=3), sparsity=0.3):
        assert int(removed.sum()) == int(0.3 * removed.numel() + 1e-9)


@pytest.mark.parametrize("settings", [{"sparsity": 0.5}, {"pattern": "2:4"}])
def test_result_depends_on_the_seed_only(settings: dict):
    expected = masks(3, **settings)
    assert same(masks(3, **settings), expected)
    assert not any(torch.equal(a, b) for a, b in zip(masks(4, **settings), expected, strict=True))
    with torch.random.fork_rng():
        torch.manual_seed(99)  # what the program drew before
        assert same(masks(3, **settings), expected)
    assert same(masks(3, tiny_model(seed=1), **settings), expected)  # other weights
    assert same(masks(3, tiny_model(dtype=torch.bfloat16), **settings), expected)
    model = tiny_model()
    RandomWeights(**settings).apply(model, random_tokens(), seed=3)  # a text
    assert same([linear.weight == 0 for _, _, linear in model.linears()], expected)


def test_layers_are_independent():
    model = tiny_model(blocks=2)
    removed = masks(0, model, sparsity=0.5)
    layers = len(removed) // 2
    for one, other in zip(removed[:layers], removed[layers:], strict=True):  # of one role and shape
        assert 0.4 < float((one == other).double().mean()) < 0.6


def test_survivors_keep_their_value():
    dense = tiny_model()
    model = copy.deepcopy(dense)
    outcome = RandomWeights(sparsity=0.5).apply(model)
    for (_, _, before), (_, _, after) in zip(dense.linears(), model.linears(), strict=True):
        left = after.weight != 0
        assert torch.equal(after.weight[left], before.weight[left])
    assert outcome.achieved == 0.5


@pytest.mark.model
def test_on_real_blocks_it_is_worse_than_magnitude(first_blocks):
    for settings in ({"sparsity": 0.2}, {"sparsity": 0.5}, {"pattern": "2:4"}):
        drawn = first_blocks.error("randomweights", **settings)
        assert drawn > 2 * first_blocks.error("magnitude", **settings)
    errors = [first_blocks.error("randomweights", sparsity=share) for share in (0.05, 0.2, 0.5)]
    assert errors == sorted(errors)
