"""Random units: uniform selection that depends on the seed only."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from implementations.harness import LanguageModel
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.harness.model.execution import seeded
from implementations.harness.model.units import count_weights
from implementations.random import Random

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))


def numbered(**settings) -> LanguageModel:
    """Return a tiny model whose rows of `k` and `up` contain their index."""
    model = tiny_model(**settings)
    for block in model.blocks:
        for linear in (block.attention.k, block.feed_forward.up):
            rows = torch.arange(linear.out_features, dtype=linear.weight.dtype)
            linear.weight.data = rows[:, None].repeat(1, linear.in_features)
    return model


def kept(model: LanguageModel) -> list[list[float]]:
    """Return the indices of the remaining rows of `k` and `up` of each block."""
    parts = [(block.attention.k, block.feed_forward.up) for block in model.blocks]
    return [linear.weight[:, 0].tolist() for both in parts for linear in both]


def pruned(seed: int, sparsity: float = 0.3, **settings) -> list[list[float]]:
    """Prune a numbered model and return the remaining indices."""
    model = numbered(**settings)
    Random(sparsity=sparsity).apply(model, seed=seed)
    return kept(model)


def draws(model: LanguageModel, sparsity: float, count: int) -> Tensor:
    """Draw `count` times, `[count, units]`, with 1 for removed units."""
    with seeded(0):
        return torch.stack([Random(sparsity=sparsity).draw(model) for _ in range(count)]).double()


def assert_mean(values: Tensor, expected: float) -> None:
    """Check the mean of independent values `[draws]`, to four standard errors."""
    error = float(values.std()) / len(values) ** 0.5
    assert error > 0
    assert abs(float(values.mean()) - expected) < 4 * error


def test_every_unit_of_a_kind_is_drawn_equally_often():
    model = tiny_model(blocks=3)  # 2 KV groups and 48 channels a block
    drawn = draws(model, 0.4, 500)
    groups = (torch.arange(150) % 50) < 2
    for kind in (groups, ~groups):
        mine = drawn[:, kind]
        share = float(mine.mean())
        error = (share * (1 - share) / len(mine)) ** 0.5
        assert (mine.mean(dim=0) - share).abs().max() < 4.5 * error  # no unit stands out
        early, late = mine.tensor_split(2, dim=1)
        assert_mean(early.mean(dim=1) - late.mean(dim=1), 0.0)


def test_the_chance_of_a_unit_depends_on_its_cost_at_the_border_only():
    # A unit of cost c goes if those before it cost less than B - c/2, out of T - c: README.
    model = tiny_model(blocks=8)
    drawn = draws(model, 0.2, 150)
    costs = Random().costs(model)
    total = int(costs.sum())
    for cost in costs.unique().tolist():
        chance = (0.2 * total - cost / 2) / (total - cost)
        assert chance == pytest.approx(0.2, abs=cost / total / 2)
        assert_mean(drawn[:, costs == cost].mean(dim=1), chance)


def test_random_numbers_are_wide_enough_not_to_tie():
    class Seen(Random):
        def choose(self, model: LanguageModel, scores: Tensor) -> Tensor:
            assert scores.dtype == torch.float64
            assert not torch.equal(scores, scores.float().double())
            return super().choose(model, scores)

    Seen().draw(tiny_model())


def test_result_depends_on_the_seed():
    assert pruned(seed=0) == pruned(seed=0)
    assert len({str(pruned(seed=seed)) for seed in range(5)}) == 5


def test_result_depends_on_nothing_else():
    expected = pruned(seed=3)
    with torch.random.fork_rng():
        torch.manual_seed(99)  # what the program drew before
        assert pruned(seed=3) == expected
    assert pruned(seed=3, dtype=torch.bfloat16) == expected
    other = numbered(seed=1)  # other weights
    for block in other.blocks:
        for linear in (block.attention.o, block.feed_forward.down):
            linear.weight.data *= 1000
    Random(sparsity=0.3).apply(other, random_tokens(), seed=3)  # and a text
    assert kept(other) == expected


@every_family
def test_removes_exactly_the_drawn_units(family: str):
    dense = tiny_model(family, blocks=3)
    method = Random(sparsity=0.4)
    with seeded(5):
        drawn = method.draw(dense)
    model = copy.deepcopy(dense)
    outcome = method.apply(model, seed=5)
    sizes = [n for b in dense.blocks for n in (b.attention.kv_heads, b.feed_forward.channels)]
    left = [int((~part).sum()) for part in drawn.split(sizes)]
    assert outcome.details == {"kv_groups": left[::2], "channels": left[1::2]}
    costs = method.costs(dense)
    assert count_weights(model).all == int(costs[~drawn].sum())
    assert abs(int(costs[drawn].sum()) - 0.4 * int(costs.sum())) <= method.largest_unit(dense) / 2
    parts = drawn.split(sizes)[1::2]  # the channels of each block
    for before, after, removed in zip(dense.blocks, model.blocks, parts, strict=True):
        was, now = before.feed_forward, after.feed_forward
        assert torch.equal(now.up.weight, was.up.weight[~removed])
        assert torch.equal(now.down.weight, was.down.weight[:, ~removed])


@pytest.mark.model
def test_on_real_blocks_the_error_rises_with_sparsity(first_blocks):
    dense = count_weights(first_blocks.dense).all
    unit = Random().largest_unit(first_blocks.dense)
    pruned = first_blocks.pruned("random", sparsity=0.2)
    assert abs(count_weights(pruned).all - 0.8 * dense) <= unit / 2
    errors = [first_blocks.error("random", sparsity=sparsity) for sparsity in (0.05, 0.2, 0.5)]
    assert errors == sorted(errors)
    assert errors[0] > 0
