"""The training loop: equal to a plain one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.data.tokens import Stream
from implementations.harness.errors import NumericsError
from implementations.harness.train.loop import optimise, thinned
from implementations.harness.train.schedule import Plan

STREAM = Stream(random_tokens(6, 8, seed=4), seed=5)


def plainly(model, plan: Plan) -> list[float]:
    """Train all of a model on the same batches with the formula of AdamW."""
    parameters = [p for p in model.hf.parameters() if p.requires_grad]
    means = [torch.zeros_like(p) for p in parameters]
    squares = [torch.zeros_like(p) for p in parameters]
    batches, losses = STREAM.batches(plan.batch), []
    for step in range(plan.steps):
        ids = next(batches)
        logits = model.hf(input_ids=ids, use_cache=False).logits[:, :-1]
        value = cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        gradients = torch.autograd.grad(value, parameters)
        norm = torch.cat([g.flatten() for g in gradients]).norm()
        scale = min(1.0, float(plan.clip / (norm + 1e-6)))
        rate = plan.rate * plan.factor(step)
        with torch.no_grad():
            for p, g, m, v in zip(parameters, gradients, means, squares, strict=True):
                m.lerp_(g * scale, 0.1)
                v.mul_(0.999).add_((g * scale) ** 2, alpha=0.001)
                p.mul_(1 - rate * plan.weight_decay)
                corrected = m / (1 - 0.9 ** (step + 1))
                p.sub_(rate * corrected / ((v / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8))
        losses.append(float(value.detach()))
    return losses


@pytest.mark.parametrize("at_once", [1, 4])
def test_equals_a_plain_loop(at_once: int):
    plan = Plan(5, 1e-2, batch=4, at_once=at_once, warmup=0.4, weight_decay=0.1, clip=0.5)
    ours, theirs = tiny_model(), tiny_model()

    def loss(ids: Tensor) -> Tensor:
        logits = ours.hf(input_ids=ids, use_cache=False).logits[:, :-1]
        return cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())

    losses = optimise(ours.hf.parameters(), loss, STREAM, plan)
    assert losses == pytest.approx(plainly(theirs, plan), rel=1e-4)
    assert losses[-1] < losses[0]
    for a, b in zip(ours.hf.parameters(), theirs.hf.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-5)
    assert all(p.grad is None for p in ours.hf.parameters())


@pytest.mark.parametrize("clip", [0.5, None])
def test_before_hook_sees_complete_clipped_gradients(clip: float | None):
    weight, seen = nn.Parameter(torch.tensor([1.0, 2.0])), []

    def before(step: int) -> None:
        assert not torch.is_grad_enabled()
        assert weight.grad is not None
        seen.append((step, weight.grad.tolist(), weight.tolist()))

    plan = Plan(2, 0.1, batch=4, at_once=2, decay="none", clip=clip)
    optimise([weight], lambda _: 3 * weight[0] + 4 * weight[1], STREAM, plan, before=before)
    gradient = [3.0, 4.0] if clip is None else [0.3, 0.4]
    assert [step for step, _, _ in seen] == [0, 1]
    for _, found, _ in seen:
        assert found == pytest.approx(gradient, rel=1e-4)
    assert [at for _, _, at in seen] == [[1.0, 2.0], pytest.approx([0.9, 1.9])]
    assert weight.grad is None


def test_groups_have_their_own_learning_rates():
    fast, slow, still = (nn.Parameter(torch.zeros(3)) for _ in range(3))
    groups = [{"params": [fast]}, {"params": [slow], "lr": 0.01}, {"params": [still], "lr": 0.0}]
    plan = Plan(2, 0.1, decay="none", clip=None)
    optimise(groups, lambda _: -(fast + slow + still).sum(), STREAM, plan)
    # With a constant gradient, AdamW changes parameters by the learning rate.
    assert [float(p[0]) for p in (fast, slow, still)] == pytest.approx([0.2, 0.02, 0.0], abs=1e-6)


def test_ignores_gradients_from_before():
    parameter, left = nn.Parameter(torch.zeros(1)), torch.full((1,), 7.0)
    parameter.grad = left
    plan = Plan(1, 0.1, batch=1, clip=None)
    optimise([parameter], lambda _: -parameter.sum(), STREAM, plan, by=momentum)
    assert float(parameter.detach()) == pytest.approx(0.1)
    assert float(left) == 7  # not changed in place, so that its owner can restore it


def momentum(parameters: Any, lr: float, **_: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=lr, momentum=0.5)


def test_other_optimisers_use_the_rates_of_the_plan():
    quick, slow = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))
    groups = [{"params": [quick]}, {"params": [slow], "lr": 0.01}]
    plan = Plan(2, 0.1, batch=1, decay="linear", clip=None)
    optimise(groups, lambda _: -(quick + slow), STREAM, plan, by=momentum)
    # Momentum gives steps of 1 and 1.5 for gradients of -1, at the full and half the rate.
    assert [float(quick), float(slow)] == pytest.approx([0.1 + 0.05 * 1.5, 0.01 + 0.005 * 1.5])


def test_consecutive_plans_continue_the_text():
    parameter, read = nn.Parameter(torch.ones(1)), []

    def loss(ids: Tensor) -> Tensor:
        read.append(ids)
        return parameter.sum()

    optimise([parameter], loss, STREAM, Plan(2, 0.1, batch=2, total=5))
    optimise([parameter], loss, STREAM, Plan(3, 0.1, batch=2, before=2))
    batches = [ids for ids, _ in zip(STREAM.batches(1), range(10), strict=False)]
    assert torch.equal(torch.cat(read), torch.cat(batches))


def test_error_names_the_step_of_a_loss_that_is_not_finite():
    parameter, losses = nn.Parameter(torch.ones(1)), iter([1.0, 2.0, float("nan")])
    with pytest.raises(NumericsError, match="training step 2 is nan"):
        optimise(
            [parameter], lambda _: parameter.sum() * next(losses), STREAM, Plan(5, 0.1, batch=1)
        )


def test_thinned_curve_has_means():
    assert thinned([1.0, 2.0, 3.0], 3) == [1.0, 2.0, 3.0]
    assert thinned([float(i) for i in range(10)], 5) == [0.5, 2.5, 4.5, 6.5, 8.5]
    curve = thinned([1.0] * 1234, 100)
    assert curve == [1.0] * 100
