"""Gates multiply units, and the budget loss is a distance."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from implementations.harness import BadInput, masked, unit_costs
from implementations.harness.contract.helpers import logits
from implementations.harness.contract.side_effects import state
from implementations.harness.contract.tiny import (
    MODEL_TYPES,
    ShutModel,
    random_tokens,
    tiny_model,
)
from implementations.harness.model.units import Kind
from implementations.harness.train.gates import budget_loss, gated
from implementations.harness.train.losses import next_token_loss

KINDS: tuple[Kind, ...] = (
    "kv-groups",
    "value-dims",
    "channels",
    "attention-inputs",
    "attention-outputs",
    "feed-forward-inputs",
    "feed-forward-outputs",
)


def units(model, *kinds: Kind) -> int:
    return sum(len(unit_costs(block, kind)) for block in model.blocks for kind in kinds)


@pytest.mark.parametrize("family", list(MODEL_TYPES))
def test_gate_of_zero_masks_and_gate_of_one_changes_nothing(family: str):
    model = tiny_model(family)
    dense = logits(model)
    removed = torch.rand(units(model, *KINDS), generator=torch.Generator().manual_seed(0)) < 0.3
    with masked(model, removed, *KINDS):
        without = logits(model)
    with gated(model, *KINDS) as gates:
        assert torch.equal(logits(model), dense)
        gates.values = torch.ones(len(removed))
        assert torch.equal(logits(model), dense)
        gates.values = (~removed).float()
        torch.testing.assert_close(logits(model), without, rtol=1e-5, atol=1e-5)
    assert torch.equal(logits(model), dense)


@pytest.mark.parametrize("family", list(MODEL_TYPES))
def test_gradients_of_gates_match_finite_differences(family: str):
    model, ids = tiny_model(family), random_tokens(2, 12).ids
    model.hf.requires_grad_(False).double()
    values = torch.ones(units(model, *KINDS), dtype=torch.float64, requires_grad=True)
    with gated(model, *KINDS) as gates:

        def loss(gate: Tensor) -> Tensor:
            gates.values = gate
            return next_token_loss(model, ids)

        loss(values).backward()
        assert values.grad is not None
        along = values.grad.sign()  # the direction in which a small step changes the loss most
        with torch.no_grad():
            step = 1e-5
            moved = loss(values + step * along) - loss(values - step * along)
    assert float(values.grad @ along) == pytest.approx(float(moved / (2 * step)), rel=2e-2)
    assert float((values.grad != 0).double().mean()) > 0.9


def test_gates_are_removed_even_after_an_exception():
    model = tiny_model()
    before = state(model)
    with gated(model, *KINDS):
        assert state(model)["hooks"] > before["hooks"]
    assert state(model) == before
    with pytest.raises(KeyboardInterrupt), gated(model, *KINDS):
        raise KeyboardInterrupt
    assert state(model) == before


def test_refuses_model_moved_block_by_block():
    shut = ShutModel(tiny_model())
    with pytest.raises(BadInput, match="block by block"):
        gated(shut, "channels").__enter__()


def test_budget_loss_is_the_logarithm_of_the_ratio():
    assert float(budget_loss(torch.tensor(80.0), 80)) == 0
    twice, half = torch.tensor([160.0, 40.0], requires_grad=True).unbind()
    assert float(budget_loss(twice.detach(), 80)) == pytest.approx(math.log(2))
    assert float(budget_loss(half.detach(), 80)) == pytest.approx(math.log(2))
    for left, sign in ((100.0, 1), (50.0, -1)):
        kept = torch.tensor(left, requires_grad=True)
        budget_loss(kept, 80).backward()
        assert kept.grad is not None
        assert float(kept.grad) * sign > 0
