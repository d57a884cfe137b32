"""SAAP: importances, fusion, ranking over the model, minimum widths, and a real model."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from implementations.harness import (
    BadInput,
    LanguageModel,
    Tokens,
    backwalk,
    saliences,
    vector_scores,
)
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.saap import SAAP, saap
from implementations.saap.saap import noise_weighted
from tests.observation import FreedByBlock, sample_gradients

pytestmark = pytest.mark.usefixtures("without_gradients")

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))
double = torch.float64


def numbers(seed: int, parts: int = 1, units: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(parts, units, generator=generator, dtype=double) + 0.1


def widths(model: LanguageModel) -> list[tuple[int, int]]:
    return [(b.attention.kv_heads, b.feed_forward.channels) for b in model.blocks]


# The two importances


@every_family
def test_importances_equal_those_of_plain_backward_passes(family: str):
    model, tokens = tiny_model(family, dtype=double), random_tokens(samples=5)
    expected, views = sample_gradients(model, tokens), iter(SAAP().views(model, tokens))
    for block, each in zip(model.blocks, expected, strict=True):
        next(views)  # the KV groups, whose rows the harness's own tests place
        vector, element = (torch.zeros(block.feed_forward.channels, dtype=double) for _ in range(2))
        for role in {"gate", "up", "down"} & each.keys():
            w, g = block.linears()[role].weight, each[role].mean(dim=0)
            first, second = w * g, w * g - w * w * each[role].square().mean(dim=0) / 2
            dim = 0 if role == "down" else 1
            vector += first.sum(dim=dim).abs()
            element += second.abs().sum(dim=dim)
        for values, by_hand in zip(next(views), (vector, element), strict=True):
            torch.testing.assert_close(values, by_hand, rtol=1e-5, atol=0)


@pytest.mark.parametrize("kind", ["kv-groups", "channels"])
def test_summing_before_absolute_values_gives_no_more(kind: str):
    model = tiny_model(dtype=double)
    for block in backwalk(model, random_tokens(), gradients=model.blocks[0].linears()):
        first = saliences(block, block.gradients)
        vector, element = (
            vector_scores(block, kind, first, whole=whole).sum(dim=(0, 2))
            for whole in (True, False)
        )
        assert bool((vector <= element * (1 + 1e-12)).all())


def test_a_unit_without_weights_goes_first():
    model, tokens = tiny_model(dtype=double), random_tokens(samples=5)
    inner = model.blocks[0].feed_forward
    for linear in inner.inner:
        linear.weight[4] = 0
    inner.down.weight[:, 4] = 0
    _, (vector, element), *_ = SAAP().views(model, tokens)
    assert vector[4] == element[4] == 0
    assert int(vector.argmin()) == int(element.argmin()) == 4


def test_gradients_are_freed_before_the_next_block(monkeypatch):
    freed = FreedByBlock()
    recorded = freed.recorded(saliences, lambda result: result.values())
    monkeypatch.setattr(saap, "saliences", recorded)
    monkeypatch.setattr(saap, "backwalk", freed.checked(backwalk))
    SAAP().views(tiny_model(blocks=3), random_tokens())
    assert len(freed.references) == 3 * 3 * 7  # gradients and two saliences of three blocks


# The fusion


def test_noise_equals_the_result_of_gradient_descent():
    view = numbers(0, units=30)
    log_sigma = torch.zeros((), dtype=double)
    for _ in range(500):  # of sum I / (2 sigma^2) + log sigma, by log sigma
        slope = len(view[0]) - float((view * (-2 * log_sigma).exp()).sum())
        log_sigma -= 0.01 * slope
    torch.testing.assert_close(noise_weighted(view), view / (2 * (2 * log_sigma).exp()))


@pytest.mark.parametrize("scale", [1e-9, 1000.0])
def test_both_views_have_equal_weight_at_any_scale(scale: float):
    vector, element = numbers(0), numbers(1)
    expected = vector[0] / vector.mean() / 2 + element[0] / element.mean() / 2
    torch.testing.assert_close(SAAP().indicator(scale * vector, element), expected)
    torch.testing.assert_close(SAAP().indicator(vector, scale * element), expected)


def test_one_view_alone():
    vector, element = numbers(0), numbers(1)
    for fusion, view in (("vector", vector), ("element", element)):
        alone = SAAP(fusion=fusion).indicator(vector, element)
        torch.testing.assert_close(alone, view[0] / view.mean() / 2)


def test_module_without_importance_gives_finite_scores():
    nothing = torch.zeros(1, 4, dtype=double)
    assert SAAP().indicator(nothing, nothing).tolist() == [0] * 4


def test_removes_weak_or_unstable_units_first():
    steady = torch.tensor([[4.0, 1.0, 4.0], [5.0, 2.0, 1.0], [4.0, 1.0, 4.0], [5.0, 2.0, 9.0]])
    strong, weak, erratic = SAAP(fluctuation="batch").indicator(*2 * [steady.double()]).tolist()
    assert strong > weak > erratic
    # Means 4.5 and 1.5 over the same deviation.
    assert strong / weak == pytest.approx(3, rel=1e-4)


def test_a_unit_that_is_always_zero_is_removed_first():
    parts = torch.tensor([[0.0, 1.0], [0.0, 9.0], [0.0, 1.0], [0.0, 9.0]], dtype=double)
    dead, erratic = SAAP(fluctuation="batch").indicator(parts, parts).tolist()
    assert dead == 0 < erratic


# The ranking over the model


class Given(SAAP):
    """Rank importances that are given, the same in both views."""

    def views(self, model, tokens):
        return [(GIVEN[i], GIVEN[i]) for i in range(2 * len(model.blocks))]


GIVEN = [torch.empty(0)] * 4


def test_outliers_are_measured_in_standard_deviations(monkeypatch):
    # Both lose 0.1 to their mean; in the second block that is usual.
    tight, wide = (1 + s * torch.linspace(-1, 1, 48, dtype=double) for s in (0.01, 0.3))
    tight[0], wide[3] = 0.9, 0.5
    monkeypatch.setitem(globals(), "GIVEN", [torch.ones(2), tight, torch.ones(2), wide])
    model = tiny_model()
    Given(sparsity=96 / (2 * 7680)).apply(model, random_tokens())
    assert widths(model) == [(2, 47), (2, 48)]


def test_every_block_keeps_a_group_and_a_tenth_of_its_channels():
    model = tiny_model(blocks=3)
    method = SAAP()
    limit = method.max_sparsity(model)
    assert limit == (1536 + 43 * 96) / 7680
    SAAP(sparsity=limit).apply(model, random_tokens())
    assert widths(model) == [(1, 5)] * 3
    with pytest.raises(BadInput, match=r"at most 0\.7"):
        SAAP(sparsity=limit + 0.01).apply(tiny_model(blocks=3), random_tokens())
    assert SAAP(least_channels=0.0).max_sparsity(model) > SAAP(least_channels=0.5).max_sparsity(
        model
    )


def test_what_a_block_keeps_are_its_best(monkeypatch):
    best = torch.arange(48, dtype=double)
    monkeypatch.setitem(globals(), "GIVEN", [torch.tensor([1.0, 2.0]), best] * 2)
    model = tiny_model()
    dense = copy.deepcopy(model)
    Given(sparsity=SAAP().max_sparsity(model)).apply(model, random_tokens())
    for block, was in zip(model.blocks, dense.blocks, strict=True):
        assert torch.equal(block.feed_forward.up.weight, was.feed_forward.up.weight[43:])
        assert torch.equal(block.attention.v.weight, was.attention.v.weight[8:])


# Calibration


def test_uses_the_first_samples():
    few = random_tokens(samples=2)
    many = Tokens.from_ids(torch.cat([few.ids, random_tokens(samples=4, seed=1).ids]))
    left = []
    for tokens, samples in ((few, 10), (many, 2), (many, 6)):
        model = tiny_model()
        SAAP(sparsity=0.4, samples=samples).apply(model, tokens)
        left.append([linear.weight for _, _, linear in model.linears()])
    assert all(map(torch.equal, left[0], left[1]))
    assert not all(map(torch.equal, left[0], left[2]))


def test_parts_of_the_calibration_are_scored_separately():
    tokens, seen = random_tokens(samples=9), []

    class Watched(SAAP):
        def views(self, model, tokens):
            seen.append(tokens.ids)
            return super().views(model, tokens)

    Watched(sparsity=0.3, fluctuation="batch").apply(tiny_model(), tokens)
    assert [len(ids) for ids in seen] == [2, 2, 2, 2, 1]
    assert torch.equal(torch.cat(seen), tokens.ids)
    seen.clear()
    Watched(sparsity=0.3).apply(tiny_model(), tokens)
    assert [len(ids) for ids in seen] == [9]


def test_too_few_samples_to_fluctuate_are_refused():
    one, model = random_tokens(samples=1), tiny_model()
    with pytest.raises(BadInput, match=r"at least 4 calibration samples, got 1;.*zscore"):
        SAAP(fluctuation="batch").apply(model, one)
    with pytest.raises(BadInput, match="at least 4 calibration samples, got 3"):
        SAAP(fluctuation="batch", samples=3).apply(model, random_tokens(samples=6))
    SAAP(sparsity=0.3).apply(model, one)


@pytest.mark.model
def test_on_real_blocks_it_beats_magnitude(first_blocks):
    error = first_blocks.error("saap", sparsity=0.2, samples=2)
    assert 0 < error < first_blocks.error("unitmagnitude", sparsity=0.2)
