"""AST: masked forward pass, optimiser, changing masks, loss, and the final model."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax

from implementations.ast import AST
from implementations.ast.ast import AnnealedAdamW, masked_weights
from implementations.harness import (
    BadInput,
    Calibration,
    LanguageModel,
    Stream,
    get_method,
    logits_of,
)
from implementations.harness.contract.helpers import fingerprint, logits, same
from implementations.harness.contract.tiny import random_tokens, tiny_model

pytestmark = pytest.mark.usefixtures("without_gradients")

TEXT = Calibration(**vars(random_tokens()), training=Stream(random_tokens(16, seed=2)))
QUICK = {"steps": 4, "batch": 2, "rate": 1e-3, "refresh": 2, "warmup": 0.0}


def ast(**settings) -> AST:
    """Configure a short training to 2:4."""
    return AST.configure(**({"pattern": "2:4"} | QUICK | settings))


def trained(model: LanguageModel, method: AST, text: Calibration = TEXT):
    """Prune a copy of `model`; return it and the outcome."""
    pruned = copy.deepcopy(model)
    return pruned, method.apply(pruned, text)


def zeros(model: LanguageModel) -> list[Tensor]:
    return [linear.weight == 0 for _, _, linear in model.linears()]


def settled(model: LanguageModel, method: AST) -> LanguageModel:
    """Return a copy pruned by the first masks, without training."""
    sparse = copy.deepcopy(model)
    for weight, removed in method.masks(sparse, TEXT).items():
        weight.masked_fill_(removed, 0)
    return sparse


# Masks


def test_keeps_the_two_largest_of_four_inputs():
    weight = torch.tensor([[1.0, -4.0, 2.0, 3.0, 0.5, 0.1, -0.2, 0.3], [9.0] * 8])
    removed = ast().smallest(weight)
    # Equal ones go from the left; were groups taken over outputs, the second row would stay.
    assert removed.tolist() == [
        [True, False, True, False, False, True, True, False],
        [True, True, False, False, True, True, False, False],
    ]


def test_unstructured_masks_prune_every_row_equally():
    weight = torch.tensor([[1.0, 2.0, 3.0, 4.0], [10.0, 40.0, 30.0, 20.0]])
    removed = AST(sparsity=0.25).smallest(weight)
    assert removed.tolist() == [[True, False, False, False], [True, False, False, False]]


def test_initial_wanda_mask_equals_wanda():
    model = tiny_model()
    before = fingerprint(model)
    found = settled(model, ast(initial="wanda"))
    wanda = copy.deepcopy(model)
    get_method("wanda").configure(pattern="2:4").apply(wanda, random_tokens())
    assert same(fingerprint(found), fingerprint(wanda))  # block by block, what follows sees it
    assert not same(fingerprint(found), fingerprint(settled(model, ast())))
    ast(initial="wanda").masks(model, TEXT)
    assert same(before, fingerprint(model))


# The forward pass and its gradient


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_forward_pass_uses_exactly_the_kept_weights(dtype: torch.dtype):
    model = tiny_model(dtype=dtype)
    masks, before = ast().masks(model, TEXT), fingerprint(model)
    with masked_weights(model, masks):
        found = logits(model)
    assert torch.equal(found, logits(settled(model, ast())))
    assert same(before, fingerprint(model))


def test_straight_through_gradient_reaches_every_weight():
    model = tiny_model()
    masks = ast().masks(model, TEXT)
    linear = model.blocks[1].feed_forward.down
    weight, seen = linear.weight, {}
    handle = linear.register_forward_hook(lambda _, inputs, out: seen.update(x=inputs[0], y=out))
    with masked_weights(model, masks), torch.enable_grad():
        weight.requires_grad_(True)
        value = logits_of(model, TEXT.ids).logsumexp(-1).square().sum()
        (outward,) = torch.autograd.grad(value, seen["y"], retain_graph=True)
        (gradient,) = torch.autograd.grad(value, weight)
    handle.remove()
    expected = outward.flatten(0, 1).T @ seen["x"].flatten(0, 1)  # dL/dy^T x
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-4)
    assert int((gradient[masks[weight]] != 0).sum()) > 100


# The optimiser


def steps(
    weight: float, gradients: list[float], removed: bool | None, pull: float = 0.5, **settings
) -> tuple[float, dict]:
    """Take a step of rate 0.01 by each gradient; return the weight and the optimiser's state."""
    parameter = nn.Parameter(torch.tensor([weight], dtype=torch.float64))
    masks = {}
    if removed is not None:
        masks[parameter] = torch.tensor([removed])
    settings = {"lr": 0.01, "betas": (0.9, 0.95), "weight_decay": 0.0} | settings
    optimizer = AnnealedAdamW([parameter], masks, lambda step: pull, **settings)
    for gradient in gradients:
        parameter.grad = torch.full_like(parameter, gradient)
        optimizer.step()
    return float(parameter), optimizer.state[parameter]


def by_hand(weight: float, gradients: list[float], pull: float, decay: float = 0.0) -> float:
    m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        weight *= 1 - 0.01 * decay
        m = 0.9 * m + 0.1 * g
        u = m + pull * weight
        v = 0.95 * v + 0.05 * u * u
        weight -= 0.01 / (1 - 0.9**t) * u / (math.sqrt(v / (1 - 0.95**t)) + 1e-8)
    return weight


def test_steps_of_a_masked_and_a_kept_weight():
    gradients = [0.3, -0.1, 0.7]
    for decay in (0.0, 0.1):
        masked, _ = steps(2.0, gradients, True, weight_decay=decay)
        assert masked == pytest.approx(by_hand(2.0, gradients, 0.5, decay), abs=1e-12)
        stays, _ = steps(2.0, gradients, False, weight_decay=decay)
        assert stays == pytest.approx(by_hand(2.0, gradients, 0.0, decay), abs=1e-12)
    # The first step is of the rate over 1 - b1 whatever the gradient: v is the square of u.
    assert steps(2.0, [0.3], False)[0] == pytest.approx(2.0 - 0.1)


def test_without_a_mask_it_is_adamw():
    gradients = [0.3, -0.1, 0.7, 0.2]
    parameter = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimizer = torch.optim.AdamW([parameter], lr=0.01, betas=(0.9, 0.95), weight_decay=0.1)
    for gradient in gradients:
        parameter.grad = torch.full_like(parameter, gradient)
        optimizer.step()
    found, _ = steps(2.0, gradients, None, weight_decay=0.1)
    assert found == pytest.approx(float(parameter), abs=1e-9)


def test_decay_rises_to_its_maximum():
    method = AST(steps=100, decay=0.2, ramp=0.2)
    assert [method.pull(step) for step in (0, 5, 20, 21, 99)] == pytest.approx(
        [0, 0.05, 0.2, 0.2, 0.2]
    )
    assert [AST(decay=0.2, ramp=0).pull(step) for step in (0, 50)] == [0.2, 0.2]
    seen: list[int] = []
    parameter = nn.Parameter(torch.ones(1))
    optimizer = AnnealedAdamW(
        [parameter],
        {parameter: torch.tensor([True])},
        lambda step: float(seen.append(step) or 0),
        lr=0.1,
        betas=(0.9, 0.95),
        weight_decay=0.0,
    )
    for _ in range(3):
        parameter.grad = torch.ones(1)
        optimizer.step()
    assert seen == [0, 1, 2]


def test_the_defaults_are_those_of_the_runs_on_llama2_7b():
    method = AST()
    assert method.ramp * method.steps == 3000
    assert method.warmup * method.steps == 500
    assert method.decay / (method.ramp * method.steps) == pytest.approx(2e-8)  # a
    plan = method.plan()
    assert (plan.betas, plan.clip) == ((0.9, 0.95), 1.0)
    assert plan.factor(plan.steps - 1) == pytest.approx(0.1, abs=1e-3)
    assert [plan.factor(step) for step in (0, 249, 499)] == pytest.approx([1 / 500, 0.5, 1])
    # Its loss is CE + KL / 2, which is ours times 1.5.
    assert (1 - method.alpha) / method.alpha == pytest.approx(2)


# The mask follows the weights


def test_growing_masked_weight_replaces_a_kept_one():
    weight = nn.Parameter(torch.tensor([[0.5, 0.4, 0.3, 0.2]]))
    method = ast()
    masks = {weight: method.smallest(weight)}
    assert masks[weight].tolist() == [[False, False, True, True]]
    optimizer = AnnealedAdamW(
        [weight], masks, lambda step: 0.1, lr=0.01, betas=(0.9, 0.95), weight_decay=0.0
    )
    for _ in range(10):
        weight.grad = torch.tensor([[0.0, 0.0, -1.0, 0.0]])  # the third matters
        optimizer.step()
    held = masks[weight]
    method.update_masks(masks)
    assert masks[weight] is held  # by what computes under it too
    assert held.tolist() == [[False, True, False, True]]
    assert abs(float(weight[0, 3])) < 0.2  # and what nothing holds dies
    fixed = {weight: torch.tensor([[False, False, True, True]])}
    ast(mask="fixed").update_masks(fixed)
    assert fixed[weight].tolist() == [[False, False, True, True]]


def test_mask_is_updated_at_intervals_and_at_the_end(monkeypatch):
    taken: list[int] = []
    model = tiny_model()
    method = ast(steps=7, refresh=3)
    optimise_step = AnnealedAdamW.step
    done: list[int] = []

    def step(self, closure=None):
        done.append(len(done) + 1)
        return optimise_step(self)

    monkeypatch.setattr(AnnealedAdamW, "step", step)
    monkeypatch.setattr(AST, "update_masks", lambda self, masks: taken.append(len(done)))
    method.apply(model, TEXT)
    assert taken == [3, 6, 7]


def test_dynamic_masks_change_and_match_the_weights():
    model = tiny_model()
    found, outcome = trained(model, ast(rate=1e-2))
    moved = outcome.details["mask_moved"]
    assert 0 < moved < 0.5
    first = zeros(settled(model, ast()))
    changed = sum(int((a != b).sum()) for a, b in zip(first, zeros(found), strict=True))
    assert moved == pytest.approx(changed / sum(mask.numel() for mask in first))
    held, outcome = trained(model, ast(rate=1e-2, mask="fixed", initial="wanda"))
    wanda = zeros(settled(model, ast(initial="wanda")))
    assert outcome.details["mask_moved"] == 0
    assert all(torch.equal(a, b) for a, b in zip(zeros(held), wanda, strict=True))


# The loss


def test_the_loss_by_hand():
    teacher, student = tiny_model(seed=1), tiny_model(seed=2)
    ids = random_tokens(2, 8).ids
    said, meant = (logits_of(model, ids).double() for model in (student, teacher))
    q, p = (log_softmax(x / 3, -1) for x in (said, meant))
    kl = 9 * (p.exp() * (p - q)).sum(-1).mean()  # of the teacher from the student, not back
    ce = cross_entropy(said[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    for alpha in (0.0, 0.25, 1.0):
        found = ast(alpha=alpha, temperature=3.0).loss(student, teacher, ids)
        assert float(found) == pytest.approx(float(alpha * kl + (1 - alpha) * ce), rel=1e-5)
    assert float(ast(alpha=1.0).loss(teacher, teacher, ids)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_the_dense_model_teaches_the_masked_one(alpha: float):
    # One batch is the whole text, so that the first loss can be said beforehand.
    model, ids = tiny_model(), random_tokens(2, 8).ids
    text = Calibration(**vars(TEXT) | {"training": Stream(random_tokens(2, 8))})
    method = ast(alpha=alpha, steps=6, rate=1e-2)
    _, outcome = trained(model, method, text)
    assert outcome.course is not None
    losses = outcome.course.losses
    expected = method.loss(settled(model, method), model, ids)
    assert losses[0] == pytest.approx(float(expected), rel=1e-5)
    assert losses[-1] < losses[0]


def test_a_teacher_that_stays_dense_does_not_follow_the_student(monkeypatch):
    model, seen = tiny_model(), []
    before = fingerprint(model)

    def loss(self, student, teacher, ids):
        seen.append(same(fingerprint(teacher), before))
        return original(self, student, teacher, ids)

    original = AST.loss
    monkeypatch.setattr(AST, "loss", loss)
    ast().apply(model, TEXT)
    assert seen == [True] * 8  # 4 steps of 2 windows, one at a time


def test_norms_embedding_and_head_are_trained_too():
    model = tiny_model()
    found, _ = trained(model, ast())
    for (name, before), after in zip(
        model.hf.named_parameters(), found.hf.parameters(), strict=True
    ):
        kept = after != 0
        assert not torch.equal(before[kept], after[kept]), name


def test_weight_decay_applies_to_matrices_only():
    groups: list[dict] = []
    keep = AnnealedAdamW.__init__

    def init(self, parameters, *arguments, **settings):
        keep(self, parameters, *arguments, **settings)
        groups.extend(self.param_groups)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AnnealedAdamW, "__init__", init)
        ast(weight_decay=0.1).apply(tiny_model(), TEXT)
    assert [(g["weight_decay"], {p.ndim for p in g["params"]}) for g in groups] == [
        (0.1, {2}),
        (0.0, {1}),
    ]


# The final model


def test_final_model_equals_the_model_under_its_last_mask(monkeypatch):
    said: list[Tensor] = []
    model = tiny_model()
    optimise = get_method("ast").prune.__globals__["optimise"]

    def then(*arguments, **settings):
        losses = optimise(*arguments, **settings)
        said.append(logits(model))  # still under the mask, which was taken after the last step
        return losses

    monkeypatch.setitem(get_method("ast").prune.__globals__, "optimise", then)
    ast().apply(model, TEXT)
    assert torch.equal(logits(model), said[0])
    for _, _, linear in model.linears():
        assert type(linear) is nn.Linear
        groups = linear.weight.unflatten(1, (-1, 4))  # [out, groups, 4]
        assert bool((groups.count_nonzero(dim=-1) == 2).all())


def test_refuses_batch_that_is_not_a_multiple_of_at_once():
    model = tiny_model()
    with pytest.raises(BadInput, match="`batch` must be a multiple of `at_once`, got 4 and 3"):
        ast(batch=4, at_once=3).check(model, TEXT)


@pytest.mark.model
def test_on_real_blocks_training_compensates_for_the_mask(first_blocks):
    settings = {"steps": 6, "batch": 1, "rate": 5e-5, "warmup": 0.3, "alpha": 1.0, "mask": "fixed"}
    model, _ = trained(first_blocks.dense, ast(**settings), first_blocks.short)
    for _, _, linear in model.linears():
        assert int((linear.weight.unflatten(1, (-1, 4)) != 0).sum(dim=-1).max()) == 2
    magnitude = first_blocks.pruned("magnitude", pattern="2:4")  # has the same mask
    assert first_blocks.divergence(model) < 0.9 * first_blocks.divergence(magnitude)
