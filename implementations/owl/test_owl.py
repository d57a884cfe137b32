"""OWL: outliers, layer shares, and their effect on the base method."""

from __future__ import annotations

import copy

import pytest
import torch

from implementations.harness import ColumnNorm, get_method, walk
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.owl import OWL
from implementations.owl.owl import layer_shares, outlier_percentage

pytestmark = pytest.mark.usefixtures("without_gradients")

BASES = ("wanda", "sparsegpt", "magnitude")


def test_planted_outliers_are_counted_over_the_whole_block():
    flat = [torch.ones(20, 30), torch.ones(10, 40)]
    assert outlier_percentage(flat, 5) == 0
    flat[0][0, :7] = 100  # mean 1.693
    assert outlier_percentage(flat, 5) == pytest.approx(100 * 7 / 1000)
    flat[1] *= 1000  # now the other layer holds all that is large, and nothing is far above
    assert outlier_percentage(flat, 5) == 0
    assert outlier_percentage(flat, 2) == 100 * 400 / 1000  # the mean is 401.0


def test_the_scale_of_the_scores_does_not_matter():
    scores = [torch.rand(20, 30, generator=torch.Generator().manual_seed(0)) ** 8]
    percentage = outlier_percentage(scores, 5)
    assert percentage > 0
    assert outlier_percentage([16 * scores[0]], 5) == percentage


def test_outliers_are_strictly_above_the_threshold():
    assert outlier_percentage([torch.tensor([[1.0, 1, 1, 5]])], 2.5) == 0  # mean 2
    assert outlier_percentage([torch.tensor([[1.0, 1, 1, 5]])], 2.4) == 25


def test_shares_by_hand():
    # Scaled to 0 .. 0.16: 0, 0.04, 0.16; the mean is 0.2 / 3.
    shares = layer_shares(torch.tensor([1.0, 2, 5]).double(), 0.7, 0.08)
    expected = torch.tensor([0.7, 0.66, 0.54], dtype=torch.float64) + 0.2 / 3
    torch.testing.assert_close(shares, expected)


@pytest.mark.parametrize("spread", [0.02, 0.08, 0.2])
def test_shares_have_the_right_mean_and_spread_and_fall_with_outliers(spread):
    outliers = torch.rand(30, generator=torch.Generator().manual_seed(1)).double()
    shares = layer_shares(outliers, 0.6, spread)
    assert float(shares.mean()) == pytest.approx(0.6, abs=1e-12)
    assert float(shares.max() - shares.min()) == pytest.approx(2 * spread)
    assert (shares[outliers.argsort()].diff() < 0).all()


def test_equal_blocks_have_equal_shares():
    assert layer_shares(torch.full((4,), 2.5).double(), 0.7, 0.08).tolist() == [0.7] * 4
    assert layer_shares(torch.tensor([1.0]).double(), 0.7, 0.08).tolist() == [0.7]


def test_shares_are_between_0_and_1():
    shares = layer_shares(torch.arange(4.0), 0.95, 0.2)
    assert 0 <= shares.min() < shares.max() == 1
    shares = layer_shares(torch.arange(4.0), 0.05, 0.2)
    assert 0 == shares.min() < shares.max() < 1


@pytest.mark.parametrize("base", BASES)
def test_meets_the_sparsity_exactly(base):
    model = tiny_model(blocks=3)
    OWL(sparsity=0.95, base=base, spread=0.1, block_size=20).apply(model, random_tokens())
    weights = [linear.weight for _, _, linear in model.linears()]
    total = sum(weight.numel() for weight in weights)
    assert sum(int((weight == 0).sum()) for weight in weights) == int(0.95 * total + 1e-9)


@pytest.mark.parametrize("base", BASES)
def test_without_spread_it_is_the_base_method(base):
    mine, theirs = tiny_model(), tiny_model()
    solver = {"damping": 0.1, "block_size": 16} if base == "sparsegpt" else {}
    OWL(sparsity=0.5, base=base, spread=0, **solver).apply(mine, random_tokens())
    get_method(base).configure(sparsity=0.5, **solver).apply(theirs, random_tokens())
    for (_, _, a), (_, _, b) in zip(mine.linears(), theirs.linears(), strict=True):
        assert torch.equal(a.weight, b.weight)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("sparsity", "spread"), [(0.6, 0.08), (0.95, 0.2)])
def test_every_layer_of_a_block_loses_the_share_of_the_block(base, sparsity, spread):
    model = tiny_model(blocks=4)
    method = OWL(sparsity=sparsity, spread=spread, base=base)
    shares = method.apply(model, random_tokens()).details["shares"]
    if sparsity == 0.6:  # none is clipped
        assert max(shares) - min(shares) == pytest.approx(0.16, abs=1e-4)
    for block, _, linear in model.linears():
        lost = int((linear.weight == 0).sum())
        assert abs(lost - shares[block.index] * linear.weight.numel()) <= 1
        if base == "wanda":
            rows = (linear.weight == 0).sum(dim=1)
            assert rows.max() - rows.min() <= 1


def test_outliers_are_those_of_the_dense_model():
    dense = tiny_model(blocks=3)
    expected = []
    for block in walk(copy.deepcopy(dense), random_tokens(), edits=False):
        seen = block.observe(ColumnNorm)
        scores = torch.cat(
            [
                (linear.weight.abs() * seen[role].norms).flatten()
                for role, linear in block.linears().items()
            ]
        )
        expected.append(float((scores > 3 * scores.mean()).float().mean() * 100))
    outcome = OWL(outlier=3.0).apply(dense, random_tokens())
    assert outcome.details["outliers"] == pytest.approx(expected)


@pytest.mark.model
def test_on_real_blocks_shares_differ_and_are_met(four_blocks):
    model = four_blocks.pruned("owl", sparsity=0.7)
    lost = [
        sum(int((linear.weight == 0).sum()) for linear in block.linears().values())
        / sum(linear.weight.numel() for linear in block.linears().values())
        for block in model.blocks
    ]
    assert max(lost) - min(lost) == pytest.approx(0.16, abs=1e-4)
    assert sum(lost) / 4 == pytest.approx(0.7, abs=1e-6)
