"""DSnoT: exchanges, reconstruction errors, and initial masks of three methods."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from implementations.dsnot import DSnoT, dsnot
from implementations.harness import Gram, Moments, get_method, inverse_factor, walk
from implementations.harness.contract.tiny import random_tokens, tiny_model
from tests.observation import FreedByBlock

pytestmark = pytest.mark.usefixtures("without_gradients")


def problem(rows: int = 40, width: int = 60, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Return contributions to outputs, grow scores and prune costs of weights."""
    generator = torch.Generator().manual_seed(seed)
    terms = torch.randn(rows, width, generator=generator)
    variance, costs = (torch.rand(shape, generator=generator) for shape in (width, terms.shape))
    return terms, terms / (variance + 0.1), costs


def revised(terms, removed, worth=None, costs=None, **settings) -> list[list[int]]:
    """Revise masks given as lists of columns; return the columns removed in the end."""
    terms = torch.tensor(terms)
    mask = torch.zeros_like(terms, dtype=torch.bool)
    for row, columns in enumerate(removed):
        mask[row, columns] = True
    worth = terms if worth is None else torch.tensor(worth)
    costs = terms.abs() if costs is None else torch.tensor(costs)
    result = DSnoT(**settings).revise(mask, terms, worth, costs)
    return [row.nonzero().flatten().tolist() for row in result]


def test_one_exchange_by_hand():
    # e = 1 + 2 = 3: back comes 2, away goes the cheaper of -1 and -2; e = 3 - 2 - 1 = 0.
    assert revised([[1.0, -1, 2, -2]], [[0, 2]]) == [[0, 1]]
    # The reverse, e = -3.
    assert revised([[-1.0, 1, -2, 2]], [[0, 2]]) == [[0, 1]]


def test_skips_small_errors():
    assert revised([[0.05, -1, 0.04, 1]], [[0, 2]]) == [[0, 2]]
    assert revised([[0.07, -1, 0.04, 1]], [[0, 2]]) != [[0, 2]]  # 0.11 is above 0.1
    assert revised([[1.0, -1, 2, -2]], [[0, 2]], threshold=3) == [[0, 2]]  # at it is enough


def test_stops_after_the_number_of_cycles():
    terms, worth, costs = problem()
    first = DSnoT().choose(costs)
    for cycles in (1, 3):
        result = DSnoT(cycles=cycles, threshold=0).revise(first, terms, worth, costs)
        assert (first & ~result).sum(dim=1).max() == cycles


def test_row_stops_without_candidates_of_the_right_sign():
    # e = 6; nothing kept is negative, so that nothing can go.
    assert revised([[1.0, 2, 3, 4]], [[0, 1, 2]]) == [[0, 1, 2]]
    # e = -1: 2 for -2 makes it 3; -1 for 1 makes it 1, and no other positive one was removed.
    assert revised([[1.0, -1, -2, 3, 2]], [[0, 2]]) == [[1, 4]]


@pytest.mark.parametrize("settings", [{}, {"same_sign": True}, {"pattern": "2:4"}], ids=str)
def test_rows_keep_their_sparsity_and_weights_move_once(settings):
    terms, worth, costs = problem()
    method = DSnoT(**settings)
    first = method.choose(costs)
    result = method.revise(first, terms, worth, costs)
    assert not torch.equal(first, result)
    assert torch.equal(result.sum(dim=1), first.sum(dim=1))
    if method.pattern:
        assert (result.unflatten(1, (-1, 4)).sum(dim=-1) == 2).all()
    back, away = first & ~result, ~first & result
    assert torch.equal(back.sum(dim=1), away.sum(dim=1))


@pytest.mark.parametrize("settings", [{"same_sign": True}, {"pattern": "2:4"}], ids=str)
def test_with_the_sign_check_errors_shrink_without_changing_sign(settings):
    terms, worth, costs = problem()
    first = DSnoT(**settings).choose(costs)
    errors = [(terms * first).sum(dim=1)]
    for cycles in range(1, 12):
        result = DSnoT(**settings, cycles=cycles).revise(first, terms, worth, costs)
        errors.append((terms * result).sum(dim=1))
    for before, after in pairwise(errors):
        assert torch.equal(before.sign(), after.sign())
        if "same_sign" in settings:
            assert (after.abs() <= before.abs() + 1e-5).all()
    assert errors[-1].abs().mean() < errors[0].abs().mean()


def test_without_the_sign_check_errors_may_overshoot():
    assert revised([[1.0, -1, 2, -3]], [[0, 2]], costs=[[0.0, 9, 0, 1]]) == [[0, 3]]  # e = -2
    assert revised([[1.0, -1, 2, -3]], [[0, 2]], costs=[[0.0, 9, 0, 1]], same_sign=True) == [[0, 2]]


@pytest.mark.parametrize("seed", range(3))
def test_equals_a_plain_loop_over_rows(seed):
    terms, worth, costs = problem(seed=seed)
    first = DSnoT().choose(costs)
    result = DSnoT().revise(first, terms, worth, costs)
    for row in range(len(terms)):
        C, G, A = (x[row].tolist() for x in (terms, worth, costs))
        removed = set(first[row].nonzero().flatten().tolist())
        kept, error = set(range(60)) - removed, sum(C[j] for j in removed)
        dropped, revived = set(removed), set()
        for _ in range(50):
            sign = 1 if error > 0 else -1
            back = [j for j in removed - revived if sign * C[j] > 0]
            away = [j for j in kept - dropped if sign * C[j] < 0]
            if abs(error) <= 0.1 or not back or not away:
                break
            j, i = max(back, key=lambda j: sign * G[j]), min(away, key=lambda i: A[i])
            revived.add(j)
            dropped = (dropped - {j}) | {i}
            error += C[i] - C[j]
        assert set(result[row].nonzero().flatten().tolist()) == dropped


def test_patterns_exchange_within_a_group():
    # e = 1 + 2 + 3 + 1 = 7; back comes 3, away goes the cheaper of the other two of its group,
    # though one of the first group would be cheaper. e = 7 - 3 + 5, then back comes 2 for -9.
    terms = [[1.0, -9, 2, 8, 3, 5, -6, 1]]
    costs = [[0.0, 1, 0, 2, 0, 4, 5, 0]]
    settings = {"pattern": "2:4", "cycles": 1}
    assert revised(terms, [[0, 2, 4, 7]], costs=costs, **settings) == [[0, 2, 5, 7]]
    settings["cycles"] = 2  # 9 - 2 - 9 would change the sign
    assert revised(terms, [[0, 2, 4, 7]], costs=costs, **settings) == [[0, 2, 5, 7]]


def test_row_stops_at_a_group_without_kept_weights():
    terms = [[4.0, 3, 1, 0.5, 9, 9, 1, 1]]
    costs = [[0.0, 0, 1, 2, 5, 5, 0, 0]]
    result = revised(terms, [[0, 1, 6, 7]], costs=costs, pattern="2:4")
    assert [j for j in result[0] if j < 4] == [2, 3]
    assert len(result[0]) == 4


def test_reported_error_is_that_of_the_masks():
    dense, method = tiny_model(blocks=1), DSnoT(sparsity=0.5, skip="none")
    model = copy.deepcopy(dense)
    outcome = method.apply(model, random_tokens())
    errors = []
    for block in walk(copy.deepcopy(dense), random_tokens()):
        moments = block.observe(Moments)
        for role, linear in block.linears().items():
            lost = linear.weight - model.blocks[0].linears()[role].weight
            errors.append(2048 * (lost @ moments[role].mean.float()).abs())
    assert outcome.details["error_after"] == pytest.approx(
        float(torch.cat(errors).mean()), rel=1e-4
    )
    assert outcome.details["error_after"] < outcome.details["error_before"]


@pytest.mark.parametrize(
    ("skip", "same"),
    [
        ("feed-forward", {"gate", "up", "down"}),
        ("attention", {"q", "k", "v", "o"}),
    ],
)
def test_skipped_layers_keep_their_initial_mask(skip, same):
    method = DSnoT(sparsity=0.5, skip=skip)
    first, result = (tiny_model(blocks=1) for _ in range(2))
    method.model_copy(update={"threshold": 1e9}).apply(first, random_tokens())
    method.apply(result, random_tokens())
    for (_, role, a), (_, _, b) in zip(first.linears(), result.linears(), strict=True):
        assert torch.equal(a.weight, b.weight) == (role in same)


@pytest.mark.parametrize("settings", [{"sparsity": 0.5}, {"pattern": "2:4"}], ids=str)
@pytest.mark.parametrize("initial", ["wanda", "magnitude"])
def test_large_threshold_keeps_the_initial_mask(initial, settings):
    result, plain = tiny_model(), tiny_model()
    DSnoT(initial=initial, threshold=1e9, skip="none", **settings).apply(result, random_tokens())
    rows = {"compare": "row"} if initial == "magnitude" else {}
    get_method(initial).configure(**settings, **rows).apply(plain, random_tokens())
    for (_, _, a), (_, _, b) in zip(result.linears(), plain.linears(), strict=True):
        assert torch.equal(a.weight, b.weight)


def test_initial_sparsegpt_mask_does_not_update_weights():
    dense, result = tiny_model(blocks=1), tiny_model(blocks=1)
    for model in (dense, result):
        model.layers[0].input_layernorm.weight.data[3] = 0  # its weights cost nothing
        model.blocks[0].attention.q.weight.data[:, 3] = 100
    method = DSnoT(sparsity=0.5, initial="sparsegpt", threshold=1e9, damping=0.1)
    method.apply(result, random_tokens())
    for block in walk(dense, random_tokens()):
        grams = block.observe(Gram)
        for role, linear in block.linears().items():
            H = grams[role].matrix
            costs = linear.weight / inverse_factor(H, 0.1).diagonal() * (H.diagonal() > 0)
            lowest = costs.abs().argsort(dim=1)[:, : linear.in_features // 2]
            expected = linear.weight.scatter(1, lowest, 0.0)
            assert torch.equal(result.blocks[0].linears()[role].weight, expected)
    assert not result.blocks[0].attention.q.weight[:, 3].any()


def test_scores_are_freed_before_the_next_block(monkeypatch):
    freed = FreedByBlock()
    observe = freed.recorded(DSnoT.observe, lambda result: result[0].values())
    monkeypatch.setattr(DSnoT, "observe", observe)
    monkeypatch.setattr(dsnot, "walk", freed.checked(walk))
    DSnoT().apply(tiny_model(), random_tokens())
    assert len(freed.references) == 14


def test_norms_do_not_depend_on_the_first_mask():
    for block in walk(tiny_model(blocks=1), random_tokens()):
        _, expected = DSnoT(initial="wanda").observe(block)
        for initial in ("sparsegpt", "magnitude"):
            _, norms = DSnoT(initial=initial).observe(block)
            for role, norm in norms.items():
                torch.testing.assert_close(norm, expected[role])


@pytest.mark.parametrize("settings", [{"sparsity": 0.5}, {"pattern": "2:4"}], ids=str)
@pytest.mark.parametrize("power", [0.0, 1.0])
def test_revises_a_magnitude_mask_with_moments_and_wanda_scores(settings, power):
    # A pattern removes the smallest first score; without one, Wanda's smallest is removed.
    method = DSnoT(initial="magnitude", variance_power=power, **settings)
    dense, result = tiny_model(blocks=1), tiny_model(blocks=1)
    seen = {}
    linears = dense.blocks[0].linears()
    for role in ("q", "o"):
        linears[role].register_forward_pre_hook(
            lambda _, args, role=role: seen.update({role: args[0].flatten(end_dim=-2)})
        )
    dense.hf(random_tokens().ids)
    method.apply(result, random_tokens())
    for role, X in seen.items():
        W = linears[role].weight
        terms = 2048 * W * X.mean(dim=0)
        worth = terms / X.var(dim=0) ** power
        costs = W.abs() if method.pattern else W.abs() * X.norm(dim=0)
        removed = method.revise(method.choose(W.abs()), terms, worth, costs)
        assert torch.equal(result.blocks[0].linears()[role].weight, W.masked_fill(removed, 0))
