"""Bonsai: prior, masks and regression by hand, rounds on tiny models, real blocks."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from implementations.bonsai import Bonsai, bonsai
from implementations.bonsai.bonsai import (
    activity,
    kendall,
    pair,
    perturbed,
    priors,
    regressed,
    ridge,
    weakest,
)
from implementations.harness import (
    AtlasWarning,
    LanguageModel,
    NumericsError,
    Tokens,
    masked,
    perplexity,
    remove_units,
)
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.harness.model.units import count_weights
from tests.observation import inputs

pytestmark = pytest.mark.usefixtures("without_gradients")

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))


# The prior


def test_activity_by_hand():
    linear = nn.Linear(3, 2, bias=False)
    linear.weight.copy_(torch.tensor([[1.0, -2.0, 0.0], [3.0, 0.0, -5.0]]))
    assert activity(linear, torch.tensor([1.0, 10.0, 0.1])).tolist() == pytest.approx([2, 10, 0.25])


@every_family
def test_prior_averages_groups_but_not_channels(family: str):
    model, tokens = tiny_model(family), random_tokens()
    scores = priors(model, tokens)
    assert len(scores) == 4
    for index, block in enumerate(model.blocks):
        o, down = block.attention.o, block.feed_forward.down
        for linear, found in ((o, scores[2 * index]), (down, scores[2 * index + 1])):
            x = inputs(model, linear, tokens).view(*tokens.ids.shape, -1)
            means = x.square().mean(dim=1).sqrt().mean(dim=0)  # one sample a batch, as theirs
            columns = linear.weight.double().abs().mean(dim=0) * means * math.sqrt(x.shape[1])
            groups = columns.view(len(found), -1).mean(dim=1)
            torch.testing.assert_close(found, groups, rtol=1e-5, atol=0)
    assert [len(part) for part in scores[:2]] == [model.blocks[0].attention.kv_heads, 48]


def test_a_dead_channel_is_the_first_candidate_and_costs_nothing():
    model, tokens = tiny_model(), random_tokens()
    model.blocks[0].feed_forward.down.weight[:, 5] = 0
    rho = priors(model, tokens)[1]
    assert rho[5] == 0
    assert weakest(rho, 0.001).nonzero().flatten().tolist() == [5]
    dense = perplexity(model, tokens).value
    off = torch.arange(100) == 2 + 5  # of two blocks; the KV groups come first
    with masked(model, off, *Bonsai().kinds):
        assert perplexity(model, tokens).value == pytest.approx(dense, rel=1e-6)


# The masks


def test_candidates_for_removal_are_the_weakest_units():
    rho = torch.arange(400).flip(0).double()
    weak = weakest(rho, 0.05)
    assert weak.nonzero().flatten().tolist() == list(range(360, 400))
    off, complement = pair(rho, 0.05)
    assert (int(off.sum()), int(complement.sum())) == (21, 19)
    assert torch.equal(off ^ complement, weak)
    assert not (off & complement).any()


@pytest.mark.parametrize(
    ("units", "share", "candidates", "removed"),
    [(3, 0.05, 1, 1), (1, 0.05, 1, 1), (9, 0.05, 1, 1), (4, 0.5, 4, 3), (2, 1.0, 2, 2)],
)
def test_small_parts(units: int, share: float, candidates: int, removed: int):
    for rho in (
        torch.rand(units).double(),
        torch.ones(units).double(),
        torch.zeros(units).double(),
    ):
        off, complement = pair(rho, share)
        assert int((off | complement).sum()) == candidates
        assert int(off.sum()) == removed


def test_empty_part_loses_nothing():
    assert pair(torch.empty(0).double(), 0.05).shape == (2, 0)


def test_weaker_units_are_masked_more_often():
    torch.manual_seed(0)
    rho = torch.tensor([0.0, 1.0, 2.0, 3.0, 9.0, 10.0, 11.0, 12.0]).double()  # the last four stay
    drawn = torch.stack([pair(rho, 0.25)[0] for _ in range(4000)]).double().mean(dim=0)
    assert not drawn[4:].any()
    # Three of four are removed: the one that stays is drawn last, with q = 12, 11, 10, 9.
    q = [12, 11, 10, 9]
    stays = []
    for last in range(4):
        others = [i for i in range(4) if i != last]
        chance = 0.0
        for i in others:
            for j in others:
                if i != j:
                    k = next(n for n in others if n not in (i, j))
                    left = 42 - q[i]
                    chance += q[i] / 42 * q[j] / left * q[k] / (left - q[j])
        stays.append(chance)
    assert drawn[:4].tolist() == pytest.approx([1 - chance for chance in stays], abs=0.02)


def test_masks_come_in_pairs_over_all_parts():
    torch.manual_seed(0)
    prior = [torch.rand(3).double(), torch.rand(40).double(), torch.empty(0).double()]
    off = perturbed(prior, 0.1, 5)
    assert off.shape == (10, 43)
    weak = torch.cat([weakest(rho, 0.1) for rho in prior])
    for first, second in off.view(5, 2, -1):
        assert torch.equal(first ^ second, weak)
        assert [int(part.sum()) for part in first.split([3, 40])] == [1, 5]
    assert len({tuple(row) for row in off.tolist()}) > 5


# The regression


def additive(units: int, masks: int, noise: float = 0.0, seed: int = 0) -> tuple[Tensor, ...]:
    """Return masks, their rewards, and the true value of each unit."""
    torch.manual_seed(seed)
    prior = [torch.ones(units * 2).double()]
    off = perturbed(prior, 0.25, masks // 2)
    weak = weakest(prior[0], 0.25)
    worth = torch.rand(units, dtype=torch.float64)
    x = (~off[:, weak]).double()
    y = -((1 - x) @ worth) - 30
    return x, y + noise * torch.randn(masks, dtype=torch.float64), worth


def test_many_sub_models_rank_additive_units():
    x, y, worth = additive(40, 200, noise=0.1)
    assert kendall(regressed(x, y)[0], worth) > 0.9


def test_a_unit_that_costs_nothing_has_a_coefficient_near_zero():
    x, y, worth = additive(40, 160, noise=0.1)
    unit = int(worth.argmax())
    y += (1 - x[:, unit]) * worth[unit]
    assert abs(float(regressed(x, y)[0][unit])) < 0.05 < 0.5 < float(worth[unit])


def test_coefficients_compare_units_within_a_part_only():
    torch.manual_seed(0)
    prior = [torch.ones(96).double()] * 2
    off = perturbed(prior, 0.05, 50)  # each mask lacks five of the ten candidates of each part
    x = (~off[:, torch.cat([weakest(rho, 0.05) for rho in prior])]).double()
    worth = torch.rand(2, 10, dtype=torch.float64) + torch.tensor([[0], [5]])
    coefficients = regressed(x, x @ worth.flatten())[0].view(2, 10)
    for found, true in zip(coefficients, worth, strict=True):
        assert float(found.mean()) == pytest.approx(0, abs=1e-9)
        assert kendall(found, true) > 0.8


def test_dual_solution_equals_the_primal():
    x, y, _ = additive(12, 30, noise=0.1)
    centred, target = x - x.mean(dim=0), y - y.mean()
    gamma = 0.1 * float(centred.square().sum()) / 30
    primal = torch.linalg.solve(centred.T @ centred + gamma * torch.eye(12), centred.T @ target)
    torch.testing.assert_close(ridge(x, y, 0.1), primal)


def test_selects_the_ridge_with_the_best_predictions():
    x, y, _ = additive(40, 40, noise=0.8)
    beta, tau = regressed(x, y)
    taus = []
    for damping in bonsai.RIDGES:
        folds = []
        for start in range(0, 40, 8):  # five folds of four pairs
            rest = [i for i in range(40) if not start <= i < start + 8]
            guess = x[start : start + 8] @ ridge(x[rest], y[rest], damping)
            folds.append(kendall(guess, y[start : start + 8]))
        taus.append(sum(folds) / 5)
    assert tau == pytest.approx(max(taus))
    assert len(set(taus)) == 3
    assert torch.equal(beta, ridge(x, y, bonsai.RIDGES[taus.index(max(taus))]))


def test_folds_consist_of_whole_pairs(monkeypatch):
    seen: list[int] = []
    monkeypatch.setattr(bonsai, "kendall", lambda guess, y: seen.append(len(y)) or 0.0)
    x, y, _ = additive(12, 14)
    regressed(x, y)
    assert sorted(seen[:5]) == [2, 2, 2, 4, 4]  # seven pairs


def test_keeps_the_units_that_the_loss_needs(monkeypatch):
    """Removing a channel with an even index costs a lot; the others cost nothing."""

    class Known(bonsai.Candidates):
        def __call__(self, removed: Tensor) -> float:
            channels = torch.cat([part[2:] for part in removed.split(50)])  # after two KV groups
            self.measure = lambda: 10 + float(channels[::2].sum())
            return super().__call__(removed)

    monkeypatch.setattr(bonsai, "Candidates", Known)
    model = tiny_model(blocks=2)
    dense = copy.deepcopy(model)
    Bonsai(sparsity=0.1, step=0.1, pairs=200, samples=1).apply(model, random_tokens(), seed=1)
    lost = []
    for block, before in zip(model.blocks, dense.blocks, strict=True):
        rows, kept = before.feed_forward.up.weight, block.feed_forward.up.weight
        lost += [i for i in range(48) if not (kept == rows[i]).all(dim=1).any()]
    assert len(lost) >= 4
    assert all(index % 2 for index in lost)


def test_fits_a_single_pair():
    x, y, _ = additive(4, 2)
    beta, tau = regressed(x, y)
    assert tau == 0
    torch.testing.assert_close(beta, ridge(x, y, bonsai.RIDGES[0]))
    assert bool(beta.isfinite().all())


def test_kendall_by_hand():
    order = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert kendall(order, order * 3) == 1
    assert kendall(order, -order) == -1
    assert kendall(order, torch.tensor([1.0, 2.0, 4.0, 3.0])) == pytest.approx(4 / 6)
    assert kendall(order, torch.ones(4)) == 0
    assert kendall(order[:1], order[:1]) == 0


# Rounds


def asked_of(monkeypatch) -> list[Tensor]:
    """Collect the ids on which perplexity is measured."""
    asked: list[Tensor] = []

    def measuring(of: LanguageModel, tokens: Tokens) -> object:
        asked.append(tokens.ids)
        return perplexity(of, tokens)

    monkeypatch.setattr(bonsai, "perplexity", measuring)
    return asked


def test_each_round_measures_on_different_samples(monkeypatch):
    model, tokens = tiny_model(blocks=3), random_tokens(40)
    asked = asked_of(monkeypatch)
    details = Bonsai(sparsity=0.4, step=0.2, pairs=3, samples=3).apply(model, tokens).details
    assert [fit["evaluations"] for fit in details["rounds"]] == [6, 6]
    assert details["evaluations"] == len(asked) == 12
    assert asked[0].shape == (3, 24)
    assert all(torch.equal(ids, asked[0]) for ids in asked[:6])
    assert all(torch.equal(ids, asked[6]) for ids in asked[6:])
    assert not torch.equal(asked[0], asked[6])


def test_each_round_removes_a_step_of_the_original_size(monkeypatch):
    model, shares = tiny_model(blocks=8), []
    real = bonsai.perturbed

    def drawing(prior: list[Tensor], share: float, count: int) -> Tensor:
        shares.append(share)
        return real(prior, share, count)

    monkeypatch.setattr(bonsai, "perturbed", drawing)
    start, unit = count_weights(model).all, Bonsai().largest_unit(model)
    details = Bonsai(sparsity=0.35, step=0.15, pairs=2).apply(model, random_tokens()).details
    removed = [fit["removed"] / start for fit in details["rounds"]]
    assert removed == pytest.approx([0.15, 0.15, 0.05], abs=unit / start)
    assert shares == pytest.approx([0.15, 0.15, 0.05], abs=unit / start)
    assert abs(sum(removed) - 0.35) <= unit / 2 / start
    assert start - count_weights(model).all == sum(fit["removed"] for fit in details["rounds"])


def test_beyond_half_there_are_more_rounds():
    # Two steps of the remaining weights are then less than one step of the start.
    model = tiny_model(blocks=2)
    start, unit = count_weights(model).all, Bonsai().largest_unit(model)
    outcome = Bonsai(sparsity=0.8, step=0.2, pairs=2).apply(model, random_tokens())
    assert abs(outcome.achieved - 0.8) <= unit / 2 / start


def test_removal_harms_no_more_than_random_removal_of_the_same_size():
    model, tokens = tiny_model(), random_tokens(2)
    method, dense = Bonsai(sparsity=0.2, step=0.2, pairs=20), copy.deepcopy(model)
    method.apply(model, tokens)
    torch.manual_seed(0)
    harms = []
    for _ in range(10):
        other = copy.deepcopy(dense)
        remove_units(other, method.choose(other, torch.rand(100)))
        harms.append(perplexity(other, tokens).value)
    assert perplexity(model, tokens).value < sum(harms) / 10


def test_removes_only_units_of_a_low_prior():
    model, tokens = tiny_model(blocks=2), random_tokens()
    prior = priors(model, tokens)
    weak = torch.cat([weakest(rho, 0.2) for rho in prior])
    dense, small = copy.deepcopy(model), {"step": 0.2, "pairs": 50}
    Bonsai(sparsity=0.2, **small).apply(model, tokens, seed=3)
    removed = []
    for was, now in zip(dense.blocks, model.blocks, strict=True):
        for a, b in (
            (was.attention.v.weight[:: was.attention.head_size], now.attention.v.weight),
            (was.feed_forward.up.weight, now.feed_forward.up.weight),
        ):
            removed += [not any(map(row.equal, b)) for row in a]
    assert any(removed)
    assert not (torch.tensor(removed) & ~weak).any()


def test_without_perturbation_all_parts_lose_their_weakest_units(monkeypatch):
    model, tokens = tiny_model(blocks=2), random_tokens()
    asked = asked_of(monkeypatch)
    prior = priors(model, tokens)
    dense = copy.deepcopy(model)
    details = Bonsai(sparsity=0.5, step=0.5, perturb=False).apply(model, tokens).details
    assert (details["evaluations"], asked) == (0, [])
    assert details["kv_groups"] == [1, 1]
    assert details["channels"] == [24, 24]
    for block, was, rho in zip(model.blocks, dense.blocks, prior[1::2], strict=True):
        kept = was.feed_forward.up.weight[rho.argsort()[24:].sort().values]
        assert torch.equal(block.feed_forward.up.weight, kept)


def test_without_perturbation_small_rounds_spread_over_all_layers():
    model = tiny_model(blocks=6, num_attention_heads=8, num_key_value_heads=4)
    details = Bonsai(sparsity=0.25, step=0.05, perturb=False).apply(model, random_tokens()).details
    assert len(details["rounds"]) == 5
    assert set(details["kv_groups"]) <= {2, 3, 4}
    assert all(32 <= width <= 40 for width in details["channels"])  # of 48


def test_a_broken_sub_model_counts_as_the_worst(monkeypatch):
    model, tokens = tiny_model(blocks=2), random_tokens()
    calls = []

    def broken(of: LanguageModel, tokens: Tokens) -> object:
        calls.append(1)
        if len(calls) % 4 == 0:
            raise NumericsError("not finite")
        return type("P", (), {"value": 1e30 if len(calls) % 4 == 1 else 50.0})()

    monkeypatch.setattr(bonsai, "perplexity", broken)
    seen = []
    real = bonsai.regressed
    monkeypatch.setattr(bonsai, "regressed", lambda x, y: (seen.append(y), real(x, y))[1])
    outcome = Bonsai(sparsity=0.2, step=0.2, pairs=4).apply(model, tokens)
    assert set(seen[0].tolist()) == {-1e8, -50.0}
    assert outcome.achieved == pytest.approx(0.2, abs=0.06)


def test_warns_if_all_sub_models_are_broken(monkeypatch):
    def broken(of: LanguageModel, tokens: Tokens) -> object:
        raise NumericsError("not finite")

    monkeypatch.setattr(bonsai, "perplexity", broken)
    with pytest.warns(AtlasWarning, match="every sub-model is 1e\\+08 or more"):
        Bonsai(sparsity=0.2, step=0.2, pairs=2).apply(tiny_model(), random_tokens())


@pytest.mark.model
def test_on_real_blocks_keeps_the_strongest_units(first_blocks):
    settings = {"sparsity": 0.2, "step": 0.2, "pairs": 2, "samples": 1}
    model = first_blocks.pruned("bonsai", **settings)  # one round
    for block in model.blocks:
        assert block.attention.kv_heads >= int(3 * 0.6)
        assert block.feed_forward.channels >= int(1536 * 0.6)
    left = count_weights(model).all / count_weights(first_blocks.dense).all
    assert left == pytest.approx(0.8, abs=0.0105)  # half of a KV group
