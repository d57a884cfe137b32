"""D-Pruner: both scores, restored weights, and the effect of the penalty."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from implementations.dpruner import DPruner, dpruner
from implementations.harness import (
    Calibration,
    Plan,
    Stream,
    next_token_loss,
)
from implementations.harness.contract.helpers import logits
from implementations.harness.contract.tiny import random_tokens, tiny_model

pytestmark = pytest.mark.usefixtures("without_gradients")


def small(**settings) -> DPruner:
    return DPruner(**(DPruner.tiny_settings | settings))


def given(domain_seed: int = 2, general_seed: int = 0) -> Calibration:
    general = random_tokens(seed=general_seed)
    return Calibration(**vars(general), domain=Stream(random_tokens(16, seed=domain_seed)))


def scored(method: DPruner, text: Calibration, general: list[Tensor] | None = None):
    model = tiny_model()
    if general is None:
        general = method.general(copy.deepcopy(model), text)
    return method.dual(model, text.domain, general)


# General importance


def test_general_importance_by_hand():
    model = tiny_model()
    seen: list[Tensor] = []
    query = model.blocks[0].attention.q
    handle = query.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    logits(model, random_tokens())
    handle.remove()
    inputs = torch.cat([x.flatten(0, -2) for x in seen]).double()  # [tokens, in]
    hessian = 2 / len(random_tokens().ids) * inputs.T @ inputs
    hessian += 0.01 * hessian.diagonal().mean() * torch.eye(len(hessian))
    upper = torch.linalg.cholesky(hessian.inverse(), upper=True)
    expected = query.weight.double().square() / upper.diagonal().square()
    # With all columns in one block nothing has been made up for yet.
    first = small(block_size=32).general(copy.deepcopy(model), random_tokens())[0]
    torch.testing.assert_close(first.double(), expected, rtol=1e-3, atol=0)
    # With smaller ones later columns have received what earlier ones lost.
    later = small(block_size=16).general(model, random_tokens())[0]
    torch.testing.assert_close(later[:, :16].double(), expected[:, :16], rtol=1e-3, atol=0)
    assert not torch.allclose(later[:, 16:].double(), expected[:, 16:], rtol=0.05)


def test_general_importance_uses_original_weights_and_pruned_inputs():
    whole, half = (
        small(general_sparsity=share).general(tiny_model(), random_tokens())
        for share in (0.0, 0.52)
    )
    assert all(bool((part > 0).all()) for part in half)
    assert torch.equal(whole[0], half[0])  # the first layer sees no pruning
    assert not torch.allclose(whole[-1], half[-1], rtol=0.05)


# The score


def test_a_score_by_hand():
    method = small(strength=0.1)
    gradient, weight = torch.tensor([[0.5, -2.0]]), torch.tensor([[3.0, 0.25]])
    general = torch.tensor([[10.0, 40.0]])
    pull = method.pull(gradient, general, rate=0.1)
    # 2 * 0.1 * 0.01 * G g^2
    torch.testing.assert_close(pull, torch.tensor([[0.002 * 10 * 0.25, 0.002 * 40 * 4]]))
    torch.testing.assert_close(
        method.taylor(gradient, weight), torch.tensor([[1.5 + 1.125, abs(-0.5 + 0.125)]])
    )
    rough = small(cubic=True, second_order=0.0)
    torch.testing.assert_close(
        rough.taylor(gradient, weight), torch.tensor([[28.5, abs(-0.5 + 0.015625)]])
    )
    assert float(small(penalty_scale=0.001).pull(gradient, general, 0.1).max()) == pytest.approx(
        float(pull.max()) / 1000
    )


def test_the_normalised_penalty_is_half_of_the_gradient():
    gradient, general = torch.randn(4, 6), torch.rand(4, 6)
    pull = small(penalty="normalised").pull(gradient, general, 1e-4)
    assert float(pull.norm() / gradient.norm()) == pytest.approx(0.5)
    plain = small().pull(gradient, general, 1e-4)
    torch.testing.assert_close(pull / pull.norm(), plain / plain.norm())
    _, details = scored(small(penalty="normalised"), given())
    assert details["penalty_over_gradient"] == pytest.approx(0.5, rel=1e-3)
    _, faint = scored(small(penalty_scale=0.001), given())
    assert 0 < faint["penalty_over_gradient"] < 0.01


@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_scores_are_added_up_over_the_steps_with_weights_that_move(scale: float):
    """Compute two steps of one window each."""
    text = given()
    settings = {"learning_rate": 0.1, "penalty": "normalised", "clip": 0.5}
    method = small(steps=2, batch=1, gradient_scale=scale, **settings)
    general = method.general(tiny_model(), text)
    scores, _ = scored(method, text, general)
    model = tiny_model()
    weights = [linear.weight for _, _, linear in model.linears()]
    parameters = list(model.hf.parameters())
    expected = [torch.zeros_like(weight) for weight in weights]
    batches = text.domain.batches(1)
    for rate in (0.1, 0.1):  # one step of warm-up, and the first of the decay
        with torch.enable_grad():
            gradients = torch.autograd.grad(next_token_loss(model, next(batches)), parameters)
        held_back = min(1.0, 0.5 / float(torch.cat([g.flatten() for g in gradients]).norm()))
        by = {id(p): g for p, g in zip(parameters, gradients, strict=True)}
        for weight, score, worth in zip(weights, expected, general, strict=True):
            scaled = scale * by[id(weight)]
            moved = scaled + method.pull(scaled, worth, rate)
            score += method.taylor(moved, weight)
            by[id(weight)] = moved / scale
        for parameter in parameters:
            parameter -= rate * held_back * by[id(parameter)]
    for ours, theirs in zip(scores, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_the_penalty_uses_the_learning_rate_of_the_step(monkeypatch):
    rates, pull = [], DPruner.pull

    def recorded(method: DPruner, gradient: Tensor, general: Tensor, rate: float) -> Tensor:
        rates.append(rate)
        return pull(method, gradient, general, rate)

    monkeypatch.setattr(DPruner, "pull", recorded)
    scored(small(steps=4, batch=1), given())
    assert len(rates) == 4 * 14  # layers
    assert rates[::14] == pytest.approx([0.03, 0.03, 0.02, 0.01])


def test_the_rate_rises_for_a_tenth_and_then_falls(monkeypatch):
    plans: list[Plan] = []

    def optimise(parameters, loss, stream, plan, **others):
        plans.append(plan)
        return [1.0] * plan.steps

    monkeypatch.setattr(dpruner, "optimise", optimise)
    scored(small(steps=20), given())
    (plan,) = plans
    # Clipping is the method's own, after scores were taken.
    assert plan == Plan(20, 0.03, 2, warmup=0.1, decay="linear", clip=None)


def test_without_penalty_the_general_text_has_no_effect():
    plain, other = (scored(small(strength=0.0), given(general_seed=s))[0] for s in (0, 7))
    assert all(torch.equal(a, b) for a, b in zip(plain, other, strict=True))
    held, others = (scored(small(penalty="normalised"), given(general_seed=s))[0] for s in (0, 7))
    assert not any(torch.equal(a, b) for a, b in zip(held, others, strict=True))


def test_without_a_scale_the_cube_makes_it_magnitude():
    def agreement(scale: float) -> float:
        model, dense = tiny_model(), tiny_model()
        small(cubic=True, second_order=5e-4, gradient_scale=scale).apply(model, given())
        shared = total = 0.0
        for (_, _, pruned), (_, _, linear) in zip(model.linears(), dense.linears(), strict=True):
            removed = pruned.weight == 0
            size = linear.weight.abs()
            smallest = size <= size.flatten().kthvalue(size.numel() // 2).values
            shared += float((removed & smallest).sum())
            total += float(removed.sum())
        return shared / total

    assert agreement(1.0) > 0.9
    assert agreement(65536.0) < agreement(1.0) - 0.1


# The pruned model


def test_remaining_weights_keep_their_values():
    model, dense = tiny_model(), tiny_model()
    small().apply(model, given())
    for (_, _, ours), (_, _, theirs) in zip(model.linears(), dense.linears(), strict=True):
        kept = ours.weight != 0
        assert torch.equal(ours.weight[kept], theirs.weight[kept])
    before, after = dense.outside(), model.outside()
    assert all(torch.equal(before[name], tensor) for name, tensor in after.items())


@pytest.mark.parametrize(("blocks", "width"), [(1, 32), (4, 8), (5, 7)])
def test_each_block_of_columns_loses_the_share(blocks: int, width: int):
    scores = torch.rand(10, 32)
    removed = small(column_blocks=blocks).lowest(scores)
    for part, score in zip(removed.split(width, 1), scores.split(width, 1), strict=True):
        assert int(part.sum()) == part.numel() // 2
        assert float(score[part].max()) < float(score[~part].min())


@pytest.mark.model
def test_on_real_blocks_it_changes_the_domain_less_than_magnitude(four_blocks):
    model = copy.deepcopy(four_blocks.dense)
    DPruner(sparsity=0.35, steps=6, batch=1).apply(model, four_blocks.short)
    magnitude = four_blocks.pruned("magnitude", sparsity=0.35)
    held_out = four_blocks.calibration.domain.windows.ids[-4:, :128]
    ours, theirs = (four_blocks.divergence(one, held_out) for one in (model, magnitude))
    assert ours < 0.75 * theirs
