"""Training inside a block: other weights for one pass, their gradients, errors, and steps."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from implementations.harness import (
    NumericsError,
    WalkedBlock,
    block_outputs,
    gradient_step,
    output_error,
    run_with_weights,
    walk,
)
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model

pytestmark = pytest.mark.usefixtures("without_gradients")

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))


@pytest.fixture(name="without_gradients")
def _without_gradients():
    with torch.no_grad():
        yield


def second_block(family: str = "llama", **shape) -> WalkedBlock:
    """Return a block in the middle of a walk, whose micro-batches have 2, 2 and 1 samples."""
    blocks = walk(tiny_model(family, blocks=3, **shape), random_tokens(5))
    next(blocks)
    return next(blocks)


def noisy(block: WalkedBlock) -> dict[str, Tensor]:
    return {r: x.weight + 0.1 * torch.randn_like(x.weight) for r, x in block.linears().items()}


def edited(block: WalkedBlock, weights: dict[str, Tensor]) -> WalkedBlock:
    """Return a copy of the block that holds other weights."""
    other = replace(block, module=copy.deepcopy(block.module))
    for role, linear in other.linears().items():
        linear.weight.data = weights[role].detach().clone()
    return other


@every_family
def test_other_weights_act_as_if_the_block_held_them(family: str):
    block = second_block(family)
    weights = noisy(block)
    before = copy.deepcopy(block.module.state_dict())
    dense, expected = block_outputs(block), block_outputs(edited(block, weights))
    for i in range(3):
        assert torch.equal(run_with_weights(block, i, weights), expected[i])
        assert torch.equal(run_with_weights(block, i, {}), dense[i])
        assert not torch.equal(run_with_weights(block, i, {"down": weights["down"]}), expected[i])
    assert all(torch.equal(before[name], x) for name, x in block.module.state_dict().items())


@every_family
def test_gradients_reach_the_given_weights_and_no_others(family: str):
    block = second_block(family)
    weights = {role: each.requires_grad_() for role, each in noisy(block).items()}
    other = edited(block, weights)
    with torch.enable_grad():
        other.boundary.through(other, other.boundary.hidden[0]).square().sum().backward()
        loss = run_with_weights(block, 0, weights).square().sum()
        gradient_step(torch.optim.SGD(weights.values(), lr=0.0), loss, "here")
    for role, linear in other.linears().items():
        torch.testing.assert_close(weights[role].grad, linear.weight.grad)
    assert all(parameter.grad is None for parameter in block.module.parameters())


def test_an_exception_leaves_the_weights_of_the_block():
    block = second_block()
    own = block.linears()["down"].weight
    with pytest.raises(RuntimeError):
        run_with_weights(block, 0, {"down": torch.ones(3, 3)})
    assert block.linears()["down"].weight is own


def test_wider_weights_are_rounded_to_the_dtype_of_the_block():
    block = second_block(dtype=torch.bfloat16)
    wide = {role: x.weight.float().requires_grad_() for role, x in block.linears().items()}
    with torch.enable_grad():
        y = run_with_weights(block, 0, wide)
        y.float().square().sum().backward(inputs=list(wide.values()))
    assert torch.equal(y, block_outputs(block)[0])
    assert {each.grad.dtype for each in wide.values()} == {torch.float32}


def test_the_error_is_relative_to_all_targets():
    block = second_block()
    weights = noisy(block)
    assert output_error(block, block_outputs(block), {}) == 0
    y, target = (torch.cat(block_outputs(b)).double() for b in (edited(block, weights), block))
    expected = float((y - target).square().sum() / target.square().sum())
    assert output_error(block, block_outputs(block), weights) == pytest.approx(expected)
    assert output_error(block, [torch.zeros_like(y) for y in block_outputs(block)], {}) == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_refused(value: float):
    parameter = torch.ones(2, requires_grad=True)
    with torch.enable_grad(), pytest.raises(NumericsError, match=f"block 4: the loss .* {value}"):
        gradient_step(torch.optim.SGD([parameter], lr=1.0), parameter.sum() * value, "block 4")
    assert parameter.tolist() == [1, 1]


def test_steps_do_not_add_up_gradients():
    parameter = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    for _ in range(3):
        with torch.enable_grad():
            gradient_step(optimizer, 2 * parameter.sum(), "here")
    assert parameter.item() == 1 - 3 * 2
