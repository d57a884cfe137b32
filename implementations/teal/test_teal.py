"""TEAL: thresholds, the masked forward pass, shares counted while the model runs, a real model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from implementations.harness import Block, Drop, Kept, LanguageModel, Tokens
from implementations.harness.contract.helpers import logits
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.teal import TEAL, teal
from tests.observation import assert_search_decides, searches

pytestmark = pytest.mark.usefixtures("without_gradients")

CALIBRATION, OTHER, PROMPT = random_tokens(), random_tokens(3, 20, seed=1), 8


def inputs(model: LanguageModel, tokens: Tokens) -> list[dict[str, Tensor]]:
    """Return the inputs of every layer, `[samples, tokens, in]` by role."""
    seen: list[dict[str, Tensor]] = [{} for _ in model.blocks]
    handles = [
        linear.register_forward_pre_hook(
            lambda _, args, index=block.index, role=role: seen[index].update({role: args[0]})
        )
        for block, role, linear in model.linears()
    ]
    logits(model, tokens)
    for handle in handles:
        handle.remove()
    return seen


def thresholds(method: TEAL, model: LanguageModel) -> list[dict[str, float]]:
    found: list[dict[str, float]] = method.apply(model, CALIBRATION).details["limits"]
    return found


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_thresholds_are_quantiles_of_the_dense_inputs(share: float):
    model = tiny_model()
    found = thresholds(TEAL(sparsity=share, allocation="uniform"), model)
    for drops, seen in zip(found, inputs(model, CALIBRATION), strict=True):
        for role, x in seen.items():
            assert drops[role] == pytest.approx(float(x.abs().quantile(share)), rel=5e-3)


def test_inputs_not_above_the_threshold_are_zeroed_after_the_prompt():
    model, method = tiny_model(), TEAL(step=0.5)
    drops = thresholds(method, model)
    with method.active(model, PROMPT):
        found = logits(model, OTHER)

    def mask(x: Tensor, threshold: float) -> Tensor:
        return torch.cat([x[:, :PROMPT], x[:, PROMPT:] * (x[:, PROMPT:].abs() > threshold)], dim=1)

    for block, role, linear in model.linears():
        linear.register_forward_pre_hook(
            lambda _, args, t=drops[block.index][role]: mask(args[0], t)
        )
    torch.testing.assert_close(found, logits(model, OTHER), rtol=1e-4, atol=1e-5)


def test_value_at_the_threshold_is_dropped():
    kept = TEAL().kept(tiny_model().blocks[0], "q", Drop(2.0, 0.5))
    assert kept(torch.tensor([1.0, -2, 2, -3, 3])).tolist() == [False, False, False, True, True]


@pytest.mark.parametrize("above", [False, True])
def test_the_threshold_is_not_rounded_to_the_precision_of_the_model(above: bool):
    x = torch.tensor([0.1], dtype=torch.float16)
    limit = float(x) + (-1e-6 if above else 1e-6)  # in fp16, both limits are equal to x
    assert TEAL().kept(tiny_model().blocks[0], "q", Drop(limit, 0.5))(x).tolist() == [above]


def test_a_block_that_writes_nothing_returns_its_input():
    model, method, seen = tiny_model(), TEAL(allocation="uniform", dense_prompt=False), []
    block = model.blocks[0]
    for linear in block.writers:
        linear.weight.zero_()
    block.module.register_forward_hook(lambda _, args, y: seen.append((args[0], y)))
    method.apply(model, CALIBRATION)
    with method.active(model):
        logits(model, OTHER)
    entering, leaving = seen[-1]
    assert torch.equal(entering, leaving)


def test_shares_are_counted_while_the_model_runs():
    model, method = tiny_model(), TEAL(sparsity=0.4, allocation="uniform", dense_prompt=False)
    outcome = method.apply(model, CALIBRATION)
    with method.active(model):
        logits(model, OTHER)
    counted = method.counted(model, outcome)
    shares = counted.details["counted"]
    seen = inputs(model, OTHER)[0]["q"]  # not affected by other layers
    dropped = seen.abs() <= outcome.details["limits"][0]["q"]
    assert shares[0]["q"] == round(float(dropped.float().mean()), 4)
    unread = sum(
        shares[block.index][role] * linear.weight.numel() for block, role, linear in model.linears()
    )
    assert counted.unused == pytest.approx(unread, abs=1)
    total = sum(linear.weight.numel() for _, _, linear in model.linears())
    assert counted.achieved == pytest.approx(unread / total, abs=1e-4)
    assert counted.achieved != outcome.achieved == pytest.approx(0.4, abs=0.01)


def test_search_lowers_the_error_of_a_block_at_the_same_sparsity():
    """Both allocations drop the same number of weights."""
    model = tiny_model(blocks=1)
    dense = logits(model, CALIBRATION)
    errors = []
    for allocation in ("greedy", "uniform"):
        method = TEAL(allocation=allocation, step=0.1)
        outcome = method.apply(model, CALIBRATION)
        assert outcome.achieved == pytest.approx(0.5, abs=0.005)
        with method.active(model, 12):
            errors.append(float((logits(model, CALIBRATION) - dense).square().sum()))
    assert errors[0] < 0.95 * errors[1]


@pytest.mark.model
def test_on_real_blocks_small_inputs_matter_least(first_blocks: Any):
    """Dropping the smallest inputs changes the logits less than dropping random ones."""

    class Random(TEAL):
        def kept(self, block: Block, role: str, drop: Drop) -> Kept:
            generator = torch.Generator().manual_seed(block.index)
            return lambda x: torch.rand(x.shape, generator=generator) > drop.share

    model, tokens = first_blocks.dense, first_blocks.short
    dense, errors = logits(model, tokens), []
    for kind in (TEAL, Random):
        method = kind(sparsity=0.4, allocation="uniform", dense_prompt=False)
        method.apply(model, tokens)
        with method.active(model):
            errors.append(float((logits(model, tokens) - dense).square().mean()))
    assert 0 < errors[0] < 0.5 * errors[1]


def test_the_search_reads_the_first_samples_and_decides_the_shares(monkeypatch: pytest.MonkeyPatch):
    found, model = searches(monkeypatch, teal), tiny_model(blocks=2)
    details = TEAL(step=0.5, samples=2).apply(model, CALIBRATION).details
    assert_search_decides(model, CALIBRATION, found, details["shares"])
