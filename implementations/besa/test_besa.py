"""BESA: rates and masks by hand, gradients, allocation, targets, and the real model."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from implementations.besa import BESA
from implementations.besa.besa import Rates, block_rate, channel_error, initial_logits
from implementations.besa.prodigy import Prodigy
from implementations.harness import BadInput, LanguageModel, WalkedBlock, get_method
from implementations.harness.contract.helpers import logits
from implementations.harness.contract.tiny import random_tokens, tiny_model

pytestmark = pytest.mark.usefixtures("without_gradients")

CALIBRATION = random_tokens(8, 24)


def start(scores: Tensor, intervals: int = 100, *, smooth: bool = True, by_row: bool = True):
    logits = torch.zeros(intervals + 1)
    return Rates(scores, logits, smooth, by_row=by_row)


# Rates and masks


def test_candidates_of_one_row_by_hand():
    """Equals the official class (commit 4158d77) on weights 1 to 8 with steps of 0.25."""
    rates = start(torch.tensor([[3.0, 1, 2, 4, 8, 7, 6, 5]]), intervals=4)
    assert rates.candidates.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert float(rates.rate()) == pytest.approx(0.5)
    assert rates.mask().tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]]
    expected = torch.tensor([[0.4, 0.2, 0.2, 0.4, 0.8, 0.8, 0.6, 0.6]])
    torch.testing.assert_close(rates.kept(), expected)


@pytest.mark.parametrize("width", [5, 32, 576, 1000])
@pytest.mark.parametrize("by_row", [True, False])
@pytest.mark.parametrize("intervals", [25, 100, 200])  # some means round to less than a half
def test_the_start_removes_half_of_each_row(width: int, by_row: bool, intervals: int):
    scores = torch.rand(3, width, generator=torch.Generator().manual_seed(0))
    rates = start(scores, intervals, by_row=by_row)
    lowest = scores.argsort(dim=1)[:, : width // 2]
    expected = torch.ones_like(scores).scatter(1, lowest, 0)
    assert torch.equal(rates.mask(), expected)


@pytest.mark.parametrize("smooth", [True, False])
def test_probabilities_rise_with_the_score_and_average_to_one_minus_the_rate(smooth: bool):
    torch.manual_seed(0)
    scores = torch.rand(4, 200)
    rates = start(scores, smooth=smooth)
    rates.coefficients.copy_(2 * torch.randn(4, 101))
    q = rates.kept()
    assert q.min() >= 0
    assert q.max() <= 1 + 1e-6
    assert (q.gather(1, scores.argsort(dim=1)).diff(dim=1) >= 0).all()
    torch.testing.assert_close(q.mean(dim=1), 1 - rates.rate())
    assert rates.rate().std() > 0.01
    removed = (rates.mask() == 0).sum(dim=1)
    assert removed.tolist() == [math.floor(200 * float(s) + 1e-3) for s in rates.rate()]


@pytest.mark.parametrize("by_row", [True, False])
def test_gradients_are_those_of_the_probabilities(by_row: bool):
    torch.manual_seed(0)
    scores, factors = torch.rand(4, 50), torch.randn(4, 50)
    gradients = []
    for function in (Rates.mask, Rates.kept):
        rates = start(scores, by_row=by_row)
        with torch.enable_grad():
            values = function(rates)
            (values * factors).sum().backward()
        gradients.append(rates.coefficients.grad)
    assert set(start(scores, by_row=by_row).mask().unique().tolist()) == {0, 1}
    assert gradients[0].abs().max() > 1e-4
    torch.testing.assert_close(*gradients)


def test_a_sigmoid_limits_the_rates():
    def reached(smooth: bool) -> list[float]:
        rates, found = start(torch.rand(1, 100), smooth=smooth), []
        for first in range(102):  # candidates from here on are as likely as they can be
            for sign in (-1e6, 1e6):
                rates.coefficients.copy_(torch.where(torch.arange(101) < first, -sign, sign))
                found.append(float(rates.rate()))
        return [min(found), max(found)]

    assert reached(True) == pytest.approx([0.3763, 0.6237], abs=1e-4)
    assert reached(False) == [0, 1]


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.7, 0.97, 1.0])
def test_initial_logits_have_the_mean(sparsity: float):
    logits = initial_logits(sparsity, 100, smooth=False)
    rate = logits.softmax(dim=0) @ (torch.arange(101) / 100)
    assert float(rate) == pytest.approx(sparsity, abs=1e-4)
    assert not initial_logits(sparsity, 100, smooth=True).any()


def test_layers_count_by_their_weights_in_the_rate_of_a_block():
    rates = {"q": start(torch.rand(2, 10)), "k": start(torch.rand(4, 20), by_row=False)}
    rates["k"].coefficients[:, 60:] = 1e6
    s = float(rates["k"].rate())
    assert s > 0.55
    assert float(block_rate(rates)) == pytest.approx((20 * 0.5 + 80 * s) / 100)


def test_channels_count_alike_whatever_their_size():
    target = torch.tensor([[[1.0, 100.0], [1.0, 100.0]]])
    y = torch.tensor([[[1.0, 100.0], [0.0, 0.0]]])
    assert float(channel_error(y, target)) == pytest.approx(0.5)
    assert float(channel_error(y * torch.tensor([2.0, 1]), target)) == pytest.approx(0.75)


# The optimiser


def test_prodigy_equals_the_official_optimiser():
    """Parameters and step size of the official code (commit 4158d77) after 40 steps."""
    a, b = torch.zeros(2, requires_grad=True), torch.ones(1, requires_grad=True)
    optimiser = Prodigy([a, b], factor=5.0)
    for step in range(40):
        with torch.enable_grad():
            loss = (a - torch.tensor([1.0, -2])).square().sum() + (b - step / 10).abs().sum()
            optimiser.zero_grad()
            loss.backward()
        optimiser.step()
    assert a.tolist() == pytest.approx([0.5650383, -1.495553], rel=1e-5)
    assert b.item() == pytest.approx(4.451331, rel=1e-5)
    assert optimiser.distance == pytest.approx(1.3845384, rel=1e-5)


# Blocks


def pruned(dense: LanguageModel, **settings: Any) -> tuple[LanguageModel, dict[str, Any]]:
    model = copy.deepcopy(dense)
    return model, BESA(**settings).apply(model, CALIBRATION).details


def block_outputs(model: LanguageModel, index: int) -> Tensor:
    seen: list[Tensor] = []
    handle = model.layers[index].register_forward_hook(lambda _, __, y: seen.append(y))
    logits(model, CALIBRATION)
    handle.remove()
    return seen[0]


def weights(model: LanguageModel) -> list[Tensor]:
    return [linear.weight for _, _, linear in model.linears()]


@pytest.mark.parametrize("rates", ["row", "matrix"])
def test_without_learning_it_is_wanda(rates: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(BESA, "learn", lambda *_: None)
    dense, wanda = tiny_model(), tiny_model()
    model, details = pruned(dense, rates=rates)
    get_method("wanda").configure(sparsity=0.5).apply(wanda, CALIBRATION)
    assert all(torch.equal(a, b) for a, b in zip(weights(model), weights(wanda), strict=True))
    assert details["error_before"] == details["error_after"]


def test_without_learning_its_other_base_is_sparsegpt(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(BESA, "learn", lambda *_: None)
    dense, sparsegpt = tiny_model(), tiny_model()
    model, _ = pruned(dense, base="sparsegpt", rates="matrix", block_size=20)
    one_by_one = replace(CALIBRATION, batch_size=1)
    get_method("sparsegpt").configure(sparsity=0.5, block_size=20).apply(sparsegpt, one_by_one)
    assert all(torch.equal(a, b) for a, b in zip(weights(model), weights(sparsegpt), strict=True))


@pytest.mark.parametrize("rates", ["row", "matrix"])
@pytest.mark.parametrize("optimiser", ["prodigy", "adamw"])
def test_learning_lowers_the_error_of_the_blocks_and_keeps_the_weights(rates, optimiser):
    dense = tiny_model()
    model, details = pruned(dense, rates=rates, optimiser=optimiser, learning_rate=0.2, epochs=10)
    for before, after in zip(details["error_before"], details["error_after"], strict=True):
        assert after < 0.97 * before
    for old, new in zip(weights(dense), weights(model), strict=True):
        assert torch.equal(old[new != 0], new[new != 0])
    for block, shares in zip(model.blocks, details["rates"], strict=True):
        layers = block.linears()
        zeros = {role: int((layer.weight == 0).sum()) for role, layer in layers.items()}
        assert sum(zeros.values()) * 2 == sum(x.weight.numel() for x in layers.values())
        for role, layer in layers.items():
            assert shares[role] == zeros[role] / layer.weight.numel()
            equal = len((layer.weight == 0).sum(dim=1).unique()) <= 2
            assert equal == (rates == "matrix"), role


@pytest.mark.parametrize("rates", ["row", "matrix"])
def test_the_first_loss_is_that_of_wandas_mask(rates: str, monkeypatch: pytest.MonkeyPatch):
    losses: list[float] = []
    monkeypatch.setattr(
        "implementations.besa.besa.gradient_step",
        lambda _, loss, __: losses.append(float(loss.detach())),
    )
    dense, wanda = tiny_model(blocks=1), tiny_model(blocks=1)
    pruned(dense, rates=rates, sparsity=0.55)
    get_method("wanda").configure(sparsity=0.5).apply(wanda, CALIBRATION)
    Y, changed = (block_outputs(model, 0) for model in (dense, wanda))
    for loss, y, target in zip(losses, changed, Y, strict=True):  # one sample per step
        errors = (y - target).square().sum(dim=0) / target.square().sum(dim=0)
        assert loss == pytest.approx(float(errors.mean()) + 5 * (0.05 / 0.55) ** 2, rel=1e-4)


def test_the_penalty_holds_the_sparsity_and_the_error_does_not():
    dense = tiny_model(blocks=1)
    held, free = (
        pruned(
            dense, sparsity=0.55, penalty=penalty, optimiser="adamw", learning_rate=0.05, epochs=10
        )[1]["learned"][0]
        for penalty in (1000, 0)
    )
    assert held == pytest.approx(0.55, abs=0.005)
    assert free < 0.495


def test_weights_without_effect_on_the_block_are_removed_first():
    """The inputs and outputs of gate and up are as large as ever; the loss is that of the block."""
    dense = tiny_model(blocks=1)
    dense.blocks[0].feed_forward.down.weight *= 1e-3
    for rates in ("row", "matrix"):
        _, details = pruned(dense, rates=rates, optimiser="adamw", learning_rate=0.1, epochs=20)
        (shares,) = details["rates"]
        without = min(shares[role] for role in ("gate", "up"))
        assert without > 0.01 + max(shares[role] for role in ("q", "k", "v", "o"))
        assert details["learned"][0] == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("source", ["pruned", "dense"])
def test_targets_are_outputs_of_the_dense_block(source: str, monkeypatch: pytest.MonkeyPatch):
    def learn(self: BESA, block: WalkedBlock, rates: Any, targets: list[Tensor]) -> None:
        seen.append(torch.cat(targets))

    seen: list[Tensor] = []
    monkeypatch.setattr(BESA, "learn", learn)
    dense = tiny_model(blocks=3)
    model, _ = pruned(dense, inputs=source)
    half = copy.deepcopy(model)
    half.layers[1].load_state_dict(dense.layers[1].state_dict())  # only block 0 is pruned
    for active, expected in ((half, "pruned"), (dense, "dense")):
        outputs = block_outputs(active, 1)
        agree = torch.allclose(seen[1], outputs, rtol=1e-4, atol=1e-5)
        assert agree == (source == expected)


def test_sparsities_out_of_reach_of_the_sigmoid_use_none():
    assert BESA(sparsity=0.62).smoothed
    assert BESA(sparsity=0.38).smoothed
    assert not BESA(sparsity=0.37).smoothed
    assert not BESA(sparsity=0.63).smoothed
    assert not BESA(smooth=False).smoothed
    BESA(smooth=True, sparsity=0.62).check(tiny_model(), CALIBRATION)
    with pytest.raises(BadInput, match=r"`smooth` reaches only rates from 0.3775 to 0.6225"):
        BESA(smooth=True, sparsity=0.7).check(tiny_model(), CALIBRATION)


def test_refuses_rates_of_rows_for_sparsegpt():
    with pytest.raises(BadInput, match="set rates=matrix"):
        BESA(base="sparsegpt").check(tiny_model(), CALIBRATION)


def test_the_exact_budget_empties_no_row(monkeypatch: pytest.MonkeyPatch):
    def learned(self: BESA, block: Any, rates: dict[str, Rates], targets: list[Tensor]) -> None:
        for each in rates.values():  # 90 % of the first row and half of the others
            logits = each.coefficients.detach().zero_()
            logits[0, 9], logits[1:, 5] = 100.0, 100.0

    monkeypatch.setattr(BESA, "learn", learned)
    model = tiny_model(blocks=1)
    assert BESA(sparsity=0.7, intervals=10).apply(model, random_tokens(2)).achieved == 0.7
    for _, _, layer in model.linears():
        kept = (layer.weight != 0).sum(dim=1)
        assert 0 < kept[0] < kept[1:].min()


@pytest.mark.model
def test_on_real_blocks_the_error_is_below_wandas(first_blocks: Any):
    model = copy.deepcopy(first_blocks.dense)
    details = BESA(epochs=4).apply(model, first_blocks.short).details
    for before, after in zip(details["error_before"], details["error_after"], strict=True):
        assert after < before
    model = copy.deepcopy(first_blocks.dense)
    details = BESA(sparsity=0.7, epochs=16).apply(model, first_blocks.short).details
    for before, after in zip(details["error_before"], details["error_after"], strict=True):
        assert after < before
    assert details["error_after"][0] < 0.7 * details["error_before"][0]


@pytest.mark.parametrize(
    ("settings", "factor"), [({}, 5.0), ({"sparsity": 0.7}, 0.1), ({"step_factor": 7.0}, 7.0)]
)
def test_step_factor_reaches_the_optimiser(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, float], factor: float
):
    factors: list[float] = []

    def recorded(parameters: list[nn.Parameter], factor: float) -> Prodigy:
        factors.append(factor)
        return Prodigy(parameters, factor)

    monkeypatch.setattr("implementations.besa.besa.Prodigy", recorded)
    BESA(**settings).apply(tiny_model(blocks=1), random_tokens(2))
    assert factors == [factor]
