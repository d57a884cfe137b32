"""MaskLLM: candidates, samples, priors, schedules, reward, frozen weights, and learned masks."""

from __future__ import annotations

import copy
import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import gumbel_softmax, mse_loss

from implementations.harness import (
    NM,
    PARTS,
    BadInput,
    Calibration,
    LanguageModel,
    Stream,
    Tokens,
    get_method,
    next_token_loss,
    smallest_per_group,
)
from implementations.harness.contract.helpers import fingerprint, logits, same
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.maskllm import MaskLLM, maskllm
from implementations.maskllm.maskllm import Choice
from implementations.maskllm.masks import all_masks, masked_weights, one_shot
from tests.observation import inputs
from tests.one_layer import damped

pytestmark = pytest.mark.usefixtures("without_gradients")

TEXT = Calibration(**vars(random_tokens()), training=Stream(random_tokens(16, seed=2)))
SMALL = {"pattern": "2:4", "steps": 4, "batch": 2, "learning_rate": 1e-2}


def small(**settings) -> MaskLLM:
    return MaskLLM.configure(**(SMALL | settings))


def choice_of(weight: Tensor, keep: int = 2, group: int = 4, deviation: float = 1.0) -> Choice:
    torch.manual_seed(0)
    return Choice(weight, all_masks(NM(keep, group)), deviation)


def zeros(model: LanguageModel) -> list[Tensor]:
    return [linear.weight == 0 for _, _, linear in model.linears()]


# Candidates and samples


@pytest.mark.parametrize(("keep", "group", "count"), [(2, 4, 6), (1, 4, 4), (4, 8, 70), (3, 4, 4)])
def test_candidates_are_all_distinct_masks(keep: int, group: int, count: int):
    masks = all_masks(NM(keep, group))
    assert masks.shape == (count, group)
    assert set(masks.sum(dim=1).tolist()) == {keep}
    assert len(masks.unique(dim=0)) == count


def test_the_most_likely_mask_by_hand():
    choice = choice_of(torch.ones(1, 8))
    choice.gate.zero_()
    choice.gate[1, 0] = choice.gate[4, 1] = 0.1
    assert choice.likely().int().tolist() == [[1, 0, 1, 0], [0, 1, 0, 1]]


def test_logits_start_with_normal_noise():
    gate = choice_of(torch.ones(1000, 4), deviation=0.01).gate  # [6, 1000]
    assert abs(float(gate.mean())) < 1e-3
    assert float(gate.std()) == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize("pattern", [(2, 4), (1, 4), (4, 8)])
def test_soft_masks_keep_n_of_every_group(pattern):
    keep, group = pattern
    choice = choice_of(torch.ones(5, 16), keep, group)
    choice.scale, choice.temperature = 3.0, 0.7
    first, second = choice(torch.ones(5, 16)), choice(torch.ones(5, 16))
    assert not torch.equal(first, second)  # a new sample each time
    for soft in (first, second):
        sums = soft.unflatten(1, (-1, group)).sum(dim=-1)
        torch.testing.assert_close(sums, torch.full_like(sums, keep))
        assert bool(((soft >= 0) & (soft <= 1 + 1e-6)).all())


def test_samples_follow_the_logits():
    draws = 40_000
    choice = choice_of(torch.ones(draws, 4))
    p = torch.tensor([0.4, 0.25, 0.15, 0.1, 0.07, 0.03])
    choice.gate.copy_(p.log()[:, None] / 2)
    choice.scale, choice.temperature = 2.0, 1e-3
    drawn = choice(torch.ones(draws, 4)) @ torch.tensor([1.0, 2.0, 4.0, 8.0])
    codes = all_masks(NM(2, 4)) @ torch.tensor([1.0, 2.0, 4.0, 8.0])
    shares = (drawn[:, None] - codes).abs().lt(0.01).float().mean(dim=0)
    error = (p * (1 - p) / draws).sqrt()
    assert bool(((shares - p).abs() < 4 * error).all())
    choice.temperature = 1e6
    torch.testing.assert_close(choice(torch.ones(draws, 4)), torch.full((draws, 4), 0.5))


def test_groups_lie_along_the_inputs():
    weight = torch.arange(16.0).view(2, 8) + 1
    choice = choice_of(weight)
    choice.gate.zero_()
    choice.gate[5, 2] = 100.0  # the second row, its first four inputs
    choice.temperature = 1e-3
    assert choice(weight)[1, :4].tolist() == [0.0, 0.0, 11.0, 12.0]


# The prior


def test_the_prior_raises_its_mask_and_lowers_the_opposite_one():
    choice = choice_of(torch.ones(1, 4))
    choice.gate.zero_()
    choice.prefer(torch.tensor([[True, False, True, False]]), 0.03)
    # 1100, 1010, 1001, 0110, 0101, 0011
    assert choice.gate[:, 0].tolist() == pytest.approx([0, 0.03, 0, 0, -0.03, 0])


@pytest.mark.parametrize("pattern", ["2:4", "1:4", "4:8"])
@pytest.mark.parametrize("prior", ["wanda", "magnitude"])
def test_priors_are_the_masks_of_the_methods(prior: str, pattern: str):
    model, theirs = tiny_model(), tiny_model()
    before, method = fingerprint(model), small(pattern=pattern, prior=prior)
    found = one_shot(model, TEXT, prior, method.groups)
    get_method(prior).configure(pattern=pattern).apply(theirs, random_tokens())
    assert list(found) == [linear for _, _, linear in model.linears()]
    assert all(
        torch.equal(~keep, removed)
        for keep, removed in zip(found.values(), zeros(theirs), strict=True)
    )
    assert same(before, fingerprint(model))


def test_the_prior_of_sparsegpt_scores_the_dense_model():
    """The Hessians are those of the dense model, and no weight is updated."""
    model = tiny_model()
    before, pattern = fingerprint(model), small().groups
    masks = one_shot(model, TEXT, "sparsegpt", pattern)
    assert list(masks) == [linear for _, _, linear in model.linears()]
    for linear, keep in masks.items():
        X = inputs(model, linear, random_tokens())
        inverse = torch.linalg.inv(damped(X.T @ X))
        U = torch.linalg.cholesky(inverse, upper=True)
        costs = (linear.weight.double() / U.diagonal()).square()
        assert torch.equal(keep, ~smallest_per_group(costs, pattern))
    assert same(before, fingerprint(model))


@pytest.mark.parametrize("prior", ["wanda", "magnitude"])
def test_a_strong_prior_is_the_one_shot_method(prior: str):
    mine, theirs = tiny_model(), tiny_model()
    outcome = small(prior=prior, strength=1e3, learning_rate=1e-9).apply(mine, TEXT)
    get_method(prior).configure(pattern="2:4").apply(theirs, random_tokens())
    assert same(fingerprint(mine), fingerprint(theirs))
    assert outcome.details["differs_from_prior"] == 0


@pytest.mark.parametrize("skip", ["attention", "feed-forward"])
def test_skipped_layers_keep_the_mask_of_the_prior(skip: str):
    model, theirs = tiny_model(), tiny_model()
    outcome = small(prior="wanda", skip=skip, strength=0.0).apply(model, TEXT)
    get_method("wanda").configure(pattern="2:4").apply(theirs, random_tokens())
    differing = learned = 0
    for (_, role, _), mine, wanda in zip(model.linears(), zeros(model), zeros(theirs), strict=True):
        if role in PARTS[skip]:
            assert torch.equal(mine, wanda)
        else:
            differing, learned = differing + int((mine != wanda).sum()), learned + mine.numel()
    assert outcome.details["differs_from_prior"] == pytest.approx(differing / learned)
    assert differing > 100


# Training


def recorded(method: MaskLLM, monkeypatch) -> list[tuple[float, float, float]]:
    """Train a tiny model; return scale, temperature and share of the reward of every pass."""
    seen, forward, between = [], Choice.forward, maskllm.between

    def watched(self, weight):
        seen.append((self.scale, self.temperature))
        return forward(self, weight)

    rewards = []

    def noted(first, last, t):
        if last == 0:
            rewards.append(between(first, last, t))
        return between(first, last, t)

    monkeypatch.setattr(Choice, "forward", watched)
    monkeypatch.setattr(maskllm, "between", noted)
    method.apply(tiny_model(), TEXT)
    passes = seen[:: len(seen) // len(rewards)]  # one layer of each pass
    return [(*each, reward) for each, reward in zip(passes, rewards, strict=True)]


def test_scale_temperature_and_reward_are_annealed(monkeypatch):
    found = recorded(small(steps=3, batch=1, reward=0.2), monkeypatch)
    expected = [(100, 4, 0.2), (300, 2.025, 0.1), (500, 0.05, 0)]
    assert found == [pytest.approx(values) for values in expected]


def test_the_plan_is_that_of_the_paper():
    plan = MaskLLM().plan()
    assert (plan.steps, plan.rate, plan.batch, plan.betas) == (2000, 5e-4, 256, (0.9, 0.95))
    assert (plan.weight_decay, plan.clip, plan.warmup, plan.end) == (0.1, 1.0, 0.0, 0.1)


def test_the_optimiser_has_the_epsilon_of_the_paper(monkeypatch):
    optimise, groups = maskllm.optimise, []

    def recorded(parameters: list[dict[str, Any]], *args: Any, **options: Any) -> Any:
        groups.extend(parameters)
        return optimise(parameters, *args, **options)

    monkeypatch.setattr(maskllm, "optimise", recorded)
    small().apply(tiny_model(blocks=1), TEXT)
    assert [group["eps"] for group in groups] == [1e-5]


def test_the_reward_alone_leads_to_magnitude(monkeypatch):
    def no_loss(model: LanguageModel, ids: Tensor) -> Tensor:
        return 0 * next_token_loss(model, ids)

    monkeypatch.setattr(maskllm, "next_token_loss", no_loss)
    model, theirs = tiny_model(blocks=1), tiny_model(blocks=1)
    settings = {"steps": 300, "batch": 1, "prior": "none", "reward": 10.0}
    outcome = small(**settings).apply(model, TEXT)
    get_method("magnitude").configure(pattern="2:4").apply(theirs)
    mine, best = (
        sum(float(linear.weight.square().sum()) for _, _, linear in each.linears())
        for each in (model, theirs)
    )
    assert 0.98 * best < mine <= best
    assert outcome.course is not None
    assert set(outcome.course.losses) == {0.0}  # the reward is not part of the reported loss


# The masks of 2:4 in the order of the specification.
CANDIDATES = np.array(
    [[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1], [0, 0, 1, 1]]
)


def trained_gates(
    gates: np.ndarray, W: np.ndarray, target: np.ndarray, passes: list[list[Any]], reward: float
) -> np.ndarray:
    """Return the logits `[groups, 6]` after training, by the formulas.

    The loss is the squared error of the columns of `W [out, in]` for those of `target`, averaged
    over the ids of a pass. `passes` are, for every step, pairs of ids and Gumbel noise `[groups,
    6]`.
    """
    first, second = np.zeros((2, *gates.shape))
    last = len(passes) - 1
    for step, of_step in enumerate(passes):
        t, slope = step / last, np.zeros_like(gates)
        kappa, temperature = 100 + 400 * t, 4 - 3.95 * t
        for ids, noise in of_step:
            exponents = (kappa * gates + noise) / temperature
            y = np.exp(exponents - exponents.max(axis=1, keepdims=True))
            y /= y.sum(axis=1, keepdims=True)
            used = W * (y @ CANDIDATES).reshape(W.shape)
            by_used = -2 * reward * (1 - t) * used
            for i in ids:
                by_used[:, i] += 2 * (used - target)[:, i] / len(ids)
            by_y = (by_used * W).reshape(-1, 4) @ CANDIDATES.T
            by_logit = y * (by_y - (y * by_y).sum(axis=1, keepdims=True))
            slope += kappa / temperature * by_logit / len(of_step)
        slope = slope / max(np.sqrt((slope**2).sum()), 1)
        first, second = 0.9 * first + 0.1 * slope, 0.95 * second + 0.05 * slope**2
        first_mean, second_mean = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.95 ** (step + 1))
        rate = 5e-4 * (0.1 + 0.9 * (1 + np.cos(np.pi * step / len(passes))) / 2)
        gates = gates * (1 - rate * 0.1) - rate * first_mean / (np.sqrt(second_mean) + 1e-5)
    return gates


def test_one_matrix_equals_a_second_version_in_numpy(monkeypatch):
    """Prior, soft masks, loss, optimiser and result; the noise is given to both versions."""
    generator = torch.Generator().manual_seed(0)
    linear, target = nn.Linear(16, 6, bias=False), torch.randn(6, 16, generator=generator)
    linear.weight.copy_(torch.randn(6, 16, generator=generator))
    choice, seen, noises = choice_of(linear.weight, deviation=0.01), [], []
    gates = choice.gate.T.double().numpy()
    prior = smallest_per_group(-linear.weight.abs(), NM(2, 4))
    choice.prefer(prior, 3 * 0.01)
    gates = gates + 3 * 0.01 * (prior.view(-1, 4).double().numpy() @ CANDIDATES.T - 1)

    def sampled(logits, temperature, dim):
        state = torch.get_rng_state()
        y = gumbel_softmax(logits, temperature, dim=dim)
        torch.set_rng_state(state)
        noises.append(-torch.empty_like(logits).exponential_().log().T.double().numpy())
        return y

    def loss(_, ids):
        seen.append(ids.flatten().numpy())
        return (linear.weight - target)[:, seen[-1]].square().sum() / ids.numel()

    monkeypatch.setattr(maskllm, "gumbel_softmax", sampled)
    monkeypatch.setattr(maskllm, "next_token_loss", loss)
    stream = Stream(Tokens.from_ids(torch.randint(16, (10, 5), generator=generator)))
    method = MaskLLM(pattern="2:4", steps=6, batch=2, reward=0.1)
    method.train(SimpleNamespace(hf=linear), {linear: choice}, stream)

    passes = list(zip(seen, noises, strict=True))
    steps = [passes[i : i + 2] for i in range(0, 12, 2)]
    W = linear.weight.double().numpy()
    expected = trained_gates(gates, W, target.double().numpy(), steps, 0.1)
    np.testing.assert_allclose(choice.gate.T.numpy(), expected, rtol=1e-4, atol=1e-6)
    assert abs(expected - gates).mean() > 5e-4
    assert (choice.likely().numpy() == CANDIDATES[expected.argmax(axis=1)]).all()


def test_weights_are_frozen_and_only_masked(monkeypatch):
    trained: set[str] = set()

    def watched(model: LanguageModel, ids: Tensor) -> Tensor:
        trained.update(name for name, p in model.hf.named_parameters() if p.requires_grad)
        return next_token_loss(model, ids)

    monkeypatch.setattr(maskllm, "next_token_loss", watched)
    model = tiny_model()
    dense = copy.deepcopy(model)
    small().apply(model, TEXT)
    assert {name.rpartition(".")[2] for name in trained} == {"gate"}
    for (_, _, before), (_, _, after) in zip(dense.linears(), model.linears(), strict=True):
        assert torch.equal(after.weight, before.weight.masked_fill(after.weight == 0, 0))
        assert type(after) is nn.Linear


def test_the_model_computes_with_the_sampled_masks():
    model, masks = tiny_model(), all_masks(NM(2, 4))
    torch.manual_seed(0)
    choices = {linear: Choice(linear.weight, masks, 1.0) for _, _, linear in model.linears()}
    for choice in choices.values():
        choice.scale, choice.temperature = 1e7, 1e-3  # hard samples of the most likely masks
    hard = copy.deepcopy(model)
    for choice, (_, _, linear) in zip(choices.values(), hard.linears(), strict=True):
        linear.weight.masked_fill_(~choice.likely().view_as(linear.weight), 0)
    before = fingerprint(model)
    with masked_weights(choices):
        torch.testing.assert_close(logits(model), logits(hard), rtol=1e-3, atol=1e-3)
    assert same(before, fingerprint(model))
    size = sum(float(choice.size) for choice in choices.values())
    kept = sum(float(linear.weight.square().sum()) for _, _, linear in hard.linears())
    assert size == pytest.approx(kept, rel=1e-3)


def test_recovers_a_planted_mask_that_is_not_that_of_magnitude():
    generator = torch.Generator().manual_seed(0)
    linear = nn.Linear(16, 24, bias=False)
    linear.weight.copy_(torch.randn(24, 16, generator=generator))
    numbers = torch.randint(6, (24 * 4,), generator=generator)
    planted = all_masks(NM(2, 4))[numbers].view(24, 16).bool()
    X = torch.randn(256, 16, generator=generator)
    target = X @ (linear.weight * planted).T
    choice = choice_of(linear.weight, deviation=0.01)
    optimizer = torch.optim.AdamW([choice.gate], lr=0.01)
    linear.weight.requires_grad_(False)
    with torch.enable_grad(), masked_weights({linear: choice}):
        for step in range(300):
            t = step / 299
            choice.scale, choice.temperature = 100 + 400 * t, 4 - 3.95 * t
            mse_loss(linear(X), target).backward()
            optimizer.step()
            optimizer.zero_grad()
    learned = choice.likely().view(24, 16)
    largest = linear.weight.square().unflatten(1, (4, 4)).topk(2, dim=-1).indices
    magnitude = torch.zeros(24, 4, 4).scatter(2, largest, 1.0).bool().view(24, 16)
    assert (learned == planted).float().mean() > 0.97
    assert (magnitude == planted).float().mean() < 0.7


def test_training_lowers_the_loss_under_the_hard_masks():
    text = random_tokens(4, 24, seed=5)
    calibration = Calibration(**vars(text), training=Stream(text))
    losses = []
    for rate in (1e-9, 1e-2):
        model = tiny_model()
        settings = {"steps": 80, "at_once": 4, "batch": 4, "learning_rate": rate}
        small(prior="wanda", **settings).apply(model, calibration)
        losses.append(float(next_token_loss(model, text.ids)))
    assert losses[1] < losses[0] - 0.1


# Invalid input


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pattern": "8:16"}, "pattern 8:16 has 12,870 masks for each group.* at most 100"),
        ({"prior": "none", "skip": "attention"}, "`skip` needs the masks of a prior"),
        ({"batch": 4, "at_once": 3}, "`batch` must be a multiple of `at_once`, got 4 and 3"),
    ],
)
def test_invalid_settings_are_refused(settings, message: str):
    with pytest.raises(BadInput, match=message):
        small(**settings).check(tiny_model(), TEXT)


def test_sparsities_are_rounded_to_whole_weights_of_a_group():
    model = tiny_model()
    with pytest.warns(UserWarning, match=r"achieved a sparsity of 0\.5 where 0\.6"):
        MaskLLM(sparsity=0.6, steps=1, batch=1).apply(model, TEXT)
    groups = [removed.unflatten(1, (-1, 4)).sum(dim=-1) for removed in zeros(model)]
    assert set(itertools.chain(*(g.flatten().tolist() for g in groups))) == {2}


@pytest.mark.model
def test_on_real_blocks_learned_masks_beat_wandas(first_blocks):
    windows = Tokens.from_ids(first_blocks.short.training.windows.ids[:2].reshape(-1, 32))
    text = Calibration(**vars(first_blocks.ahead), training=Stream(windows))
    model = copy.deepcopy(first_blocks.dense)
    settings = {"prior": "wanda", "skip": "feed-forward", "learning_rate": 2e-2}
    MaskLLM(steps=16, batch=1, **settings).apply(model, text)
    wanda = copy.deepcopy(first_blocks.dense)
    get_method("wanda").configure(pattern="2:4").apply(wanda, text)
    losses = [float(next_token_loss(each, windows.ids)) for each in (model, wanda)]
    assert losses[0] < losses[1]
