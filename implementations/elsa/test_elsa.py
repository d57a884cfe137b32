"""ELSA: projection, pull, dual variables, schedules, training of all weights, and the result."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from implementations.elsa import ELSA, elsa
from implementations.elsa.elsa import ADMM
from implementations.harness import (
    BadInput,
    Calibration,
    LanguageModel,
    Stream,
    Tokens,
    next_token_loss,
    optimise,
)
from implementations.harness.contract.helpers import fingerprint, same
from implementations.harness.contract.tiny import random_tokens, tiny_model

pytestmark = pytest.mark.usefixtures("without_gradients")

TEXT = Calibration(**vars(random_tokens()), training=Stream(random_tokens(16, seed=2)))
SMALL = {"sparsity": 0.75, "steps": 6, "batch": 2, "interval": 2, "learning_rate": 1e-2}


def small(**settings) -> ELSA:
    return ELSA.configure(**(SMALL | settings))


def weights_of(model: LanguageModel) -> list[Tensor]:
    return [linear.weight for _, _, linear in model.linears()]


def by_magnitude(x: Tensor, v: Tensor | None) -> Tensor:
    """Remove half of all entries."""
    return ELSA(sparsity=0.5).removed(x)


# The projection


def test_projection_by_hand():
    x, v = torch.tensor([[1.0, -2.0]]), torch.tensor([[9.0, 1.0]])
    method = ELSA(sparsity=0.5)
    assert method.removed(x).tolist() == [[True, False]]
    assert method.removed(x, v).tolist() == [[False, True]]  # 9 * 1 > 1 * 4
    assert method.removed(torch.tensor([[1.0, -3.0]]), torch.tensor([[4.0, 1.0]])).tolist() == [
        [True, False]  # 4 * 1 < 1 * 9, although 4 * 1 > 1 * 3
    ]
    assert method.removed(x, torch.full_like(v, 7.0)).tolist() == [[True, False]]


def test_projection_compares_within_the_whole_matrix():
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0], [50.0, 60.0, 70.0, 80.0]])
    assert ELSA(sparsity=0.5).removed(x).tolist() == [[True] * 4, [False] * 4]
    pairs = ELSA(pattern="2:4").removed(x)
    assert pairs.tolist() == [[True, True, False, False]] * 2
    tied = ELSA(sparsity=0.25).removed(torch.ones(4, 8))
    assert int(tied.sum()) == 8


# ADMM


def test_the_pull_by_hand():
    w = nn.Parameter(torch.tensor([[1.0]]))
    admm = ADMM([w], by_magnitude, aware=False)
    admm.z[0].fill_(0.0), admm.u[0].fill_(0.5)
    w.grad = torch.tensor([[2.0]])
    admm.pull(0.1)
    assert float(w.grad) == pytest.approx(2.15)


def test_means_of_squared_gradients_leave_out_the_pull():
    w = nn.Parameter(torch.tensor([[1.0, 1.0]]))
    admm = ADMM([w], by_magnitude, aware=True)
    for gradient in ([4.0, 0.0], [2.0, 0.0]):
        w.grad = torch.tensor([gradient])
        admm.pull(10.0)
    assert admm.v[0] is not None
    assert admm.v[0][0].tolist() == pytest.approx([0.95 * 0.05 * 16 + 0.05 * 4, 0.0])


def test_the_projection_of_an_update_uses_the_squared_gradients():
    w = torch.tensor([[3.0, 1.0]])
    admm = ADMM([w], ELSA(sparsity=0.5).removed, aware=True)
    assert admm.z[0].tolist() == [[3.0, 0.0]]  # there are no gradients yet
    assert admm.v[0] is not None
    admm.v[0].copy_(torch.tensor([[1.0, 10.0]]))
    admm.update(1.0, 1.0)
    assert admm.z[0].tolist() == [[0.0, 1.0]]


def test_an_update_by_hand():
    w = torch.tensor([[3.0, -1.0, 0.5, 2.0]])
    admm = ADMM([w], by_magnitude, aware=False)
    assert admm.z[0].tolist() == [[3.0, 0.0, 0.0, 2.0]]
    assert admm.u[0].tolist() == [[0.0] * 4]
    admm.u[0].copy_(torch.tensor([[0.0, -4.0, 0.25, 0.0]]))
    admm.update(0.1, 0.1)
    assert admm.z[0].tolist() == [[3.0, -5.0, 0.0, 0.0]]  # the largest of w + u, with its values
    assert admm.u[0].tolist() == [[0.0, 0.0, 0.75, 2.0]]  # u + w - z, zero where z is not


def test_a_removed_weight_returns_because_of_its_dual_variable():
    w = torch.tensor([[1.0, 0.8]])  # the loss holds both in place
    admm = ADMM([w], by_magnitude, aware=False)
    admm.update(1.0, 1.0)
    assert admm.z[0].tolist() == [[1.0, 0.0]]
    admm.update(1.0, 1.0)
    assert admm.z[0][0, 1] == pytest.approx(1.6)
    assert admm.z[0][0, 0] == 0


def test_lambda_times_u_stays_the_same_when_lambda_changes():
    w = torch.tensor([[3.0, 1.0]])
    admm = ADMM([w], by_magnitude, aware=False)
    admm.update(0.2, 0.4)
    assert admm.u[0].tolist() == [[0.0, 0.5]]  # would be 1 without the change
    admm.update(0.0, 0.4)
    assert admm.u[0].tolist() == [[0.0, 0.0]]


def test_converges_to_the_sparse_minimum_of_a_quadratic_function():
    torch.manual_seed(0)
    a = torch.randn(6, 8).sign() * torch.cat([torch.rand(24) / 2, torch.rand(24) + 1]).view(6, 8)
    a = a.flatten()[torch.randperm(48)].view(6, 8)
    w = nn.Parameter(torch.randn(6, 8))
    admm = ADMM([w], by_magnitude, aware=False)
    apart = []
    for _ in range(40):
        for _ in range(30):  # minimise 1/2 ||w - a||^2 + lambda / 2 ||w - z + u||^2
            w.grad = w - a
            admm.pull(2.0)
            w.sub_(0.3 * w.grad)
        admm.update(2.0, 2.0)
        apart.append(elsa.distance([w], admm.z))
    expected = a.masked_fill(by_magnitude(a, None), 0)
    torch.testing.assert_close(w.detach(), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(admm.z[0], expected, rtol=1e-4, atol=1e-4)
    assert apart[-1] < 1e-4 < apart[0]


# Schedules


def test_the_pull_changes_only_with_the_copies():
    method = ELSA(steps=8, interval=3, penalty=0.4, rise="linear")
    expected = [0, 0, 0, 0, 3, 3, 3, 6, 6]
    assert [method.strength(step) for step in range(9)] == pytest.approx(
        [0.4 * t / 8 for t in expected]
    )
    cosine = ELSA(steps=8, interval=4, penalty=0.4, rise="cosine")
    assert [cosine.strength(step) for step in (4, 5, 8)] == pytest.approx([0, 0.2, 0.2])
    assert {ELSA().strength(step) for step in (0, 1, 32, 33, 4095)} == {0.01}


def test_updates_after_the_first_step_and_then_at_intervals(monkeypatch):
    seen, steps = [], []
    update, strength = ADMM.update, ELSA.strength

    def watched(self, now, following):
        seen.append((steps[-1], now, following))
        update(self, now, following)

    monkeypatch.setattr(ADMM, "update", watched)
    monkeypatch.setattr(ADMM, "pull", lambda *_: steps.append(len(steps)))
    method = small(steps=7, interval=3, rise="linear")
    method.apply(tiny_model(), TEXT)
    assert seen == [(at, strength(method, at), strength(method, at + 1)) for at in (0, 3, 6)]
    assert seen[1][1] < seen[1][2]


def test_the_plan_is_that_of_the_released_command():
    plan = ELSA().plan()
    assert (plan.betas, plan.clip, plan.weight_decay) == ((0.9, 0.95), 1.0, 0.0)
    assert [plan.factor(step) for step in (0, 1024, 3072)] == [1.0, 0.75, 0.25]


# Training


def test_the_pull_is_added_after_clipping(monkeypatch):
    model, text = tiny_model(), random_tokens(2, 12)
    calibration = Calibration(**vars(text), training=Stream(text))
    dense, gradients = copy.deepcopy(model), []

    def step(self, closure=None):
        gradients.extend(w.grad.clone() for w in weights_of(model))

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    method = small(steps=1, batch=2, at_once=2, aware=False, penalty=100.0, interval=9)
    method.apply(model, calibration)
    with torch.enable_grad():
        dense.hf.requires_grad_(True)
        next_token_loss(dense, text.ids).backward()
    nn.utils.clip_grad_norm_(dense.hf.parameters(), 1.0)
    for w, gradient in zip(weights_of(dense), gradients, strict=True):
        pull = 100.0 * w.masked_fill(~method.removed(w), 0)  # w - z, with u = 0
        torch.testing.assert_close(gradient, w.grad + pull)


def test_without_a_pull_it_prunes_the_trained_model_by_magnitude():
    method, mine, theirs = small(penalty=0.0, aware=False), tiny_model(), tiny_model()
    method.apply(mine, TEXT)
    theirs.hf.requires_grad_(True)
    parameters, loss = theirs.hf.parameters(), lambda ids: next_token_loss(theirs, ids)
    optimise(parameters, loss, TEXT.training, method.plan())
    for w in weights_of(theirs):
        w.masked_fill_(method.removed(w), 0)
    assert same(fingerprint(mine), fingerprint(theirs))


@pytest.mark.parametrize("aware", [False, True])
def test_the_last_projection_is_of_the_weights_alone(aware, monkeypatch):
    model, held = tiny_model(), {}

    class Kept(ADMM):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            held["admm"] = self

    def then(*arguments, **settings):
        losses = optimise(*arguments, **settings)
        held["weights"] = [w.clone() for w in weights_of(model)]
        return losses

    monkeypatch.setattr(elsa, "ADMM", Kept)
    monkeypatch.setattr(elsa, "optimise", then)
    method = small(aware=aware, penalty=0.1)
    outcome = method.apply(model, TEXT)
    differ = 0
    for i, (after, w) in enumerate(zip(weights_of(model), held["weights"], strict=True)):
        u, v = held["admm"].u[i], held["admm"].v[i]
        assert (v is not None) == aware
        assert torch.equal(after, w.masked_fill(method.removed(w, v), 0))
        differ += int((method.removed(w, v) != method.removed(w + u, v)).sum())
        if aware:
            differ += int((method.removed(w, v) != method.removed(w)).sum())
    assert differ > 100
    zeroed = [w - x for w, x in zip(held["weights"], weights_of(model), strict=True)]
    cut, size = (
        math.sqrt(sum(float(part.square().sum()) for part in parts))
        for parts in (zeroed, held["weights"])
    )
    assert outcome.details["distance_after_training"] == pytest.approx(cut / size)


def one_matrix(
    w: np.ndarray, batches: list[np.ndarray], target: np.ndarray, method: ELSA
) -> dict[str, np.ndarray]:
    """Return the trained `w [out, in]`, `z`, `u` and the projected weight, by the formulas.

    The loss is the squared error of the columns `w[:, ids]` for the targets `target[:, ids]`,
    averaged over the `ids` of a batch.
    """

    def projected(x: np.ndarray, scores: np.ndarray) -> np.ndarray:
        removed = scores.ravel().argsort()[: int(method.sparsity * x.size)]
        x = x.copy().ravel()
        x[removed] = 0
        return x.reshape(w.shape)

    def by_importance(x: np.ndarray) -> np.ndarray:
        return projected(x, v * x**2 if method.aware else abs(x))

    z, (u, v, first, second) = projected(w, abs(w)), np.zeros((4, *w.shape))
    rising = method.rise == "linear"
    strength = 0 if rising else method.penalty
    for step, ids in enumerate(batches):
        g = np.zeros_like(w)
        for i in ids.ravel():
            g[:, i] += 2 * (w - target)[:, i] / ids.size
        g = g / max(np.sqrt((g**2).sum()), 1)  # clipped to norm 1
        v = 0.95 * v + 0.05 * g**2
        g = g + strength * (w - z + u)
        first, second = 0.9 * first + 0.1 * g, 0.95 * second + 0.05 * g**2
        first_mean, second_mean = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.95 ** (step + 1))
        rate = method.learning_rate * (1 - step / len(batches))
        w = w - rate * first_mean / (np.sqrt(second_mean) + 1e-8)
        if step % method.interval == 0:
            z = by_importance(w + u)
            u = u + w - z
            following = method.penalty * step / len(batches) if rising else strength
            u = u * (strength / following if following else 1)  # lambda u stays the same
            strength = following
    return {"w": w, "z": z, "u": u, "result": by_importance(w)}


@pytest.mark.parametrize("rise", ["none", "linear"])
@pytest.mark.parametrize("aware", [False, True])
def test_one_matrix_equals_a_second_version_in_numpy(aware, rise, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    linear, target = nn.Linear(12, 8, bias=False), torch.randn(8, 12, generator=generator)
    linear.weight.copy_(torch.randn(8, 12, generator=generator))
    dense, seen, admms, trained = linear.weight.double().numpy().copy(), [], [], []

    def loss(_, ids):
        seen.append(ids.numpy())
        return (linear.weight - target)[:, ids.flatten()].square().sum() / ids.numel()

    def then(*arguments, **settings):
        losses = optimise(*arguments, **settings)
        trained.append(linear.weight.clone())
        return losses

    monkeypatch.setattr(elsa, "next_token_loss", loss)
    monkeypatch.setattr(elsa, "optimise", then)
    monkeypatch.setattr(elsa, "ADMM", lambda *rest: admms.append(ADMM(*rest)) or admms[0])
    windows = Tokens.from_ids(torch.randint(12, (10, 5), generator=generator))
    text = Calibration(**vars(windows), training=Stream(windows))
    method = small(steps=12, interval=3, penalty=0.3, aware=aware, rise=rise, learning_rate=0.1)
    method.prune(SimpleNamespace(hf=linear, linears=lambda: [(0, "q", linear)]), text)

    batches = [np.stack(pair) for pair in zip(seen[::2], seen[1::2], strict=True)]
    expected = one_matrix(dense, batches, target.double().numpy(), method)
    found = {"w": trained[0], "z": admms[0].z[0], "u": admms[0].u[0], "result": linear.weight}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name].numpy(), value, rtol=1e-4, atol=1e-5, err_msg=name)
    assert np.count_nonzero(expected["result"]) == 24


def test_a_pull_that_would_stay_zero_is_refused():
    with pytest.raises(BadInput, match="`steps` must be at least 34 if the pull rises, got 33"):
        ELSA(rise="linear", steps=33).check(tiny_model(), TEXT)
    ELSA(rise="linear", steps=34).check(tiny_model(), TEXT)


def test_training_brings_the_weights_closer_to_sparse_ones():
    settings = {"steps": 60, "interval": 4, "learning_rate": 3e-3, "aware": False}
    pulled = small(penalty=0.1, **settings).apply(tiny_model(), TEXT)
    free = small(penalty=0.0, **settings).apply(tiny_model(), TEXT)
    assert pulled.details["distance_after_training"] < 0.8 * free.details["distance_after_training"]
    assert pulled.details["distance_of_the_dense_model"] == pytest.approx(
        free.details["distance_of_the_dense_model"]
    )
    dense = weights_of(tiny_model())
    removed = sum(float(w[small().removed(w)].square().sum()) for w in dense)
    size = sum(float(w.square().sum()) for w in dense)
    assert free.details["distance_of_the_dense_model"] == pytest.approx(math.sqrt(removed / size))
    assert 0 < pulled.details["mask_moved"] < 0.5


def test_norms_embedding_and_head_are_trained_but_not_pruned():
    model = tiny_model()
    dense = copy.deepcopy(model)
    small().apply(model, TEXT)
    pruned = {id(w) for w in weights_of(model)}
    for before, after in zip(dense.hf.parameters(), model.hf.parameters(), strict=True):
        kept = after != 0
        assert not torch.equal(before[kept], after[kept])
        assert bool(kept.all()) == (id(after) not in pruned)


def test_refuses_batch_that_is_not_a_multiple_of_at_once():
    with pytest.raises(BadInput, match="`batch` must be a multiple of `at_once`, got 4 and 3"):
        small(batch=4, at_once=3).check(tiny_model(), TEXT)


@pytest.mark.model
def test_on_real_blocks_it_beats_magnitude(first_blocks):
    model = copy.deepcopy(first_blocks.dense)
    windows = Tokens.from_ids(first_blocks.short.training.windows.ids[:2].reshape(-1, 32))
    text = Calibration(**vars(first_blocks.ahead), training=Stream(windows))
    ELSA(
        sparsity=0.5, steps=8, batch=1, interval=2, learning_rate=1e-3, penalty=0.1, rise="linear"
    ).apply(model, text)
    for _, _, linear in model.linears():
        assert int((linear.weight == 0).sum()) == linear.weight.numel() // 2
    magnitude = first_blocks.pruned("magnitude", sparsity=0.5)
    losses = [float(next_token_loss(m, windows.ids)) for m in (model, magnitude)]
    assert losses[0] < losses[1]
