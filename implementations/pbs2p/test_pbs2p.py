"""PBS2P: closed forms, costs, blocks of columns, N of blocks, bits, real blocks."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from implementations.harness import BadInput, Gram, LanguageModel, inverse_factor, smallest, walk
from implementations.harness.contract.helpers import logits
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.pbs2p import PBS2P, pbs2p
from implementations.pbs2p.pbs2p import bits_of, fit, increases, kept_of_blocks, signs
from tests.observation import FreedByBlock

pytestmark = pytest.mark.usefixtures("without_gradients")

ROWS, COLUMNS = 24, 64


def problem(seed: int = 0, rows: int = ROWS, columns: int = COLUMNS) -> tuple[Tensor, Tensor]:
    """Return heavy-tailed weights [rows, columns] and the Gram matrix of correlated inputs."""
    generator = torch.Generator().manual_seed(seed)
    W = torch.randn(rows, columns, generator=generator)
    W = W.sign() * W.abs() ** 1.5
    mix = torch.randn(columns, columns, generator=generator) / columns**0.5 + torch.eye(columns)
    X = torch.randn(400, columns, generator=generator) @ mix
    return W, X.T @ X / 400


def mask(keep: int, group: int = 8, seed: int = 1) -> Tensor:
    """Return a random mask that keeps `keep` of every group, boolean [ROWS, COLUMNS]."""
    drawn = torch.rand(ROWS, COLUMNS // group, group, generator=torch.Generator().manual_seed(seed))
    return ~smallest(drawn, group - keep).flatten(1)


def start(W: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return signs, scale and offset of the binarisation of dense rows."""
    mu = W.mean(dim=1, keepdim=True)
    return signs(W - mu), (W - mu).abs().mean(dim=1, keepdim=True), mu


def error(W: Tensor, found: Tensor, S: Tensor) -> Tensor:
    """Return `r^T S r` of each row, fp64 `[out]`."""
    r = (W - found).double()
    return ((r @ S.double()) * r).sum(dim=1)


def solved(W: Tensor, S: Tensor, B: Tensor, P: Tensor) -> Tensor:
    """Solve the 2 x 2 least squares system of each row, fp64 `[out, columns]`."""
    rows = []
    for w, b, p in zip(W.double(), B.double(), P.double(), strict=True):
        V = torch.stack([p * b, p], dim=1)  # [columns, 2]
        rows.append(V @ torch.linalg.solve(V.T @ S.double() @ V, V.T @ S.double() @ w))
    return torch.stack(rows)


# Scale and offset


@pytest.mark.parametrize("keep", [2, 5, 8])
def test_fits_have_zero_gradient(keep: int):
    (W, S), P = problem(), mask(keep)
    B, alpha, mu = start(W)
    W, S, B, alpha, mu = (x.double() for x in (W, S, B, alpha, mu))
    fitted, moved = fit(W, S, B, P, alpha, mu, 1)
    before = W - P * (alpha * B + moved)  # the scale was not fitted yet
    assert ((P * (before @ S)).sum(dim=1)).abs().max() < 1e-9  # u^T S (w - w^) = 0
    after = W - P * (fitted * B + moved)
    assert ((P * B * (after @ S)).sum(dim=1)).abs().max() < 1e-9  # v^T S (w - w^) = 0


def test_fits_never_raise_the_error_and_converge_to_the_solution():
    (W, S), P = problem(), mask(4)
    B, alpha, mu = start(W)
    errors = []
    for times in range(20):
        a, m = fit(W, S, B, P, alpha, mu, times)
        errors.append(error(W, P * (a * B + m), S))
    assert all((b <= a * (1 + 1e-5)).all() for a, b in itertools.pairwise(errors))
    assert (errors[1] < errors[0]).all()
    a, m = fit(W, S, B, P, alpha, mu, 200)
    torch.testing.assert_close((P * (a * B + m)).double(), solved(W, S, B, P), rtol=1e-3, atol=1e-4)


def test_without_a_mask_the_fits_are_those_of_arb_llm():
    W, S = problem()
    W, S, B, alpha, mu = (x.double() for x in (W, S, *start(W)))
    fitted, moved = fit(W, S, B, torch.ones_like(W), alpha, mu, 1)
    one = torch.ones(COLUMNS, 1, dtype=torch.float64)
    offset = (W - alpha * B) @ S @ one / (one.T @ S @ one)
    scale = (B @ S @ (W - offset).T).diagonal() / (B @ S @ B.T).diagonal()
    torch.testing.assert_close(moved, offset)
    torch.testing.assert_close(fitted, scale[:, None])


@pytest.mark.parametrize("keep", [2, 5, 8])
def test_for_uncorrelated_inputs_the_two_values_are_means_of_the_kept_weights(keep: int):
    (W, _), P = problem(), mask(keep)
    B, alpha, mu = start(W)
    alpha, mu = fit(W, torch.eye(COLUMNS), B, P, alpha, mu, 200)
    for row in range(ROWS):
        for sign in (-1, 1):
            kept = W[row][P[row] & (B[row] == sign)]
            assert float(mu[row] + sign * alpha[row]) == pytest.approx(float(kept.mean()), abs=1e-4)


def test_degenerate_inputs_do_not_change_scale_and_offset():
    W, S = problem()
    B, alpha, mu = start(W)
    P = torch.zeros(ROWS, COLUMNS, dtype=torch.bool)
    P[:, :8] = True
    S[:8], S[:, :8] = 0, 0
    assert all(map(torch.equal, fit(W, S, B, P, alpha, mu, 3), (alpha, mu)))
    x = torch.tensor([[1.0, -1.0]])  # two equal inputs cancel: u^T S u is 0, v^T S v is not
    scale, offset = fit(torch.tensor([[3.0, -1.0]]), x.T @ x, x, x > -2, x[:, :1], x[:, :1], 3)
    assert (float(scale), float(offset)) == (2, 1)


def test_signs_of_zero_are_positive():
    assert signs(torch.tensor([-2.0, 0.0, 3.0])).tolist() == [-1, 1, 1]


# Costs of weights


def test_cost_is_the_increase_of_the_error():
    (W, S), P = problem(rows=3, columns=16), torch.rand(3, 16) < 0.7
    B, alpha, mu = start(W)
    now = P * (alpha * B + mu)
    costs = increases(W, now, S)
    for row, column in itertools.product(range(3), range(16)):
        without = now.clone()
        without[row, column] = 0
        grown = error(W, without, S)[row] - error(W, now, S)[row]
        assert float(costs[row, column]) == pytest.approx(float(grown), abs=1e-4)


def test_obs_by_hand():
    # H = [[1, r], [r, 1]], r = 1/2: [H^-1]_jj = 4/3.
    W, S = torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0, 0.5], [0.5, 1.0]])
    assert PBS2P(score="obs", damping=0).obs(W, S).tolist() == [[pytest.approx(3), 0.75]]
    squared = PBS2P(score="obs-squared", damping=0).obs(W, S)
    assert squared.tolist() == [[pytest.approx(2.25), pytest.approx(0.5625)]]
    silent = PBS2P(score="obs").obs(W, torch.diag(torch.tensor([0.0, 1.0])))
    assert float(silent[0, 0]) == 0 < float(silent[0, 1])


def test_obs_costs_use_the_dense_weights():
    W, S = problem()
    method = PBS2P(score="obs")
    kept = method.binarise(W, S, 5) != 0
    lowest = smallest(method.obs(W, S).unflatten(1, (-1, 8)), 3).flatten(1)
    assert torch.equal(kept, ~lowest)


def test_costs_are_recomputed_at_every_step():
    W, S = problem()
    method = PBS2P(alternations=20)
    found = {keep: method.binarise(W, S, keep) for keep in (8, 7, 6)}
    for keep in (8, 7):  # the one that goes next raises the error of what was fitted least
        costs = increases(W, found[keep], S).masked_fill(found[keep] == 0, math.inf)
        goes = smallest(costs.unflatten(1, (-1, 8)), 1).flatten(1)
        assert torch.equal((found[keep] != 0) & (found[keep - 1] == 0), goes)


def test_one_shot_removes_the_cheapest_weights_of_the_unpruned_row():
    W, S = problem()
    costs = increases(W, PBS2P().binarise(W, S, 8), S)
    lowest = smallest(costs.unflatten(1, (-1, 8)), 4).flatten(1)
    assert torch.equal(PBS2P(stepwise=False).binarise(W, S, 4) == 0, lowest)


# A block of columns


@pytest.mark.parametrize("score", ["residual", "obs", "obs-squared"])
@pytest.mark.parametrize("keep", [1, 4, 6, 8])
def test_rows_keep_n_per_group_in_two_values(keep: int, score: str):
    W, S = problem()
    found = PBS2P(score=score).binarise(W + 0.5, S, keep)  # an offset would leak into zeros
    assert (found.unflatten(1, (-1, 8)).count_nonzero(dim=2) == keep).all()
    for row in found:
        assert len(row[row != 0].unique()) <= 2


def test_scale_and_offset_are_fitted_after_the_mask():
    W, S = problem()
    found = PBS2P(alternations=200).binarise(W, S, 4)
    P, (B, _, _) = found != 0, start(W)
    torch.testing.assert_close(found.double(), solved(W, S, B, P), rtol=1e-3, atol=1e-4)


def test_fits_lower_the_error_and_zeros_beat_binarising_alone():
    W, S = problem()
    fitted, unfitted = (
        {
            keep: error(W, PBS2P(score="obs", alternations=times).binarise(W, S, keep), S)
            for keep in (4, 6, 8)
        }
        for times in (2, 0)
    )
    assert all((fitted[keep] < unfitted[keep]).all() for keep in fitted)
    assert fitted[4].sum() < fitted[6].sum() < fitted[8].sum()


def test_signs_can_be_updated():
    W, S = problem(rows=200)
    stays, refreshed = (PBS2P(refresh=refresh).binarise(W, S, 4) for refresh in (False, True))
    B, _, _ = start(W)

    def is_two_levels_of(found: Tensor, row: int) -> bool:
        kept = found[row] != 0
        highest = found[row][kept].max()
        return torch.equal(found[row][kept] == highest, B[row][kept] > 0)

    assert all(
        is_two_levels_of(stays, row) for row in range(len(W)) if len(stays[row].unique()) > 2
    )
    assert not all(is_two_levels_of(refreshed, row) for row in range(len(W)))


# A layer


def test_blocks_of_columns_have_separate_levels():
    W, S = problem(columns=72)
    found = PBS2P(block_size=32).solve(W, S, inverse_factor(S, 0.01), 4)
    assert found.shape == W.shape
    for part in found.split(32, dim=1):
        assert all(len(row[row != 0].unique()) <= 2 for row in part)
    assert all(len(row[row != 0].unique()) in (5, 6) for row in found)


def test_later_columns_compensate_for_earlier_errors():
    W, S = problem()
    seen: list[Tensor] = []
    grams: list[Tensor] = []

    class Told(PBS2P):
        def binarise(self, W: Tensor, S: Tensor, keep: int) -> Tensor:
            seen.append(W.clone())
            grams.append(S)
            return super().binarise(W, S, keep)

    found = Told(block_size=32).solve(W, S, inverse_factor(S, 0), 4)
    E, (A, C) = (W - found)[:, :32].double(), (S[32:, 32:].double(), S[:32, 32:].double())
    # min over D of (E, D) S (E, D)^T, D the error of later columns before they are binarised
    answer = W[:, 32:].double() + E @ C @ torch.linalg.inv(A)
    torch.testing.assert_close(seen[1].double(), answer, rtol=1e-3, atol=1e-3)
    assert torch.equal(grams[1], S[32:, 32:])
    alone = Told(block_size=32, compensate=False).solve(W, S, inverse_factor(S, 0), 4)
    assert torch.equal(seen[3], W[:, 32:])
    assert torch.equal(alone[:, :32], found[:, :32])
    assert error(W, found, S).sum() < error(W, alone, S).sum()


# N of the blocks


def test_n_of_blocks_by_hand():
    # I = 2, 1, 1/2, 1/2 of mean 1, x = 3 + I * (4 - 3). Both 3.5 are rounded up, which is one too
    # many, and the first of them goes back.
    assert kept_of_blocks([4.0, 2.0, 1.0, 1.0], [80] * 4, 4, 8, 1) == [5, 4, 3, 4]
    # low is 1, not 0; a block cannot keep less than 1, so all have the mean
    assert kept_of_blocks([4.0, 2.0, 1.0, 1.0], [80] * 4, 1, 4, 1) == [1, 1, 1, 1]
    assert kept_of_blocks([4.0, 2.0, 1.0, 1.0], [80] * 4, 4, 8, 0) == [4, 4, 4, 4]
    assert kept_of_blocks([9.0, 0.0, 0.0, 0.0], [80] * 4, 4, 8, 2) == [6, 4, 3, 3]
    assert kept_of_blocks([0.0] * 5, [80] * 5, 6, 8, 1) == [6] * 5
    # From 2 to 4, although 10 * (1 - 0.7) is slightly more than 3.
    assert kept_of_blocks([9.0, 0.0, 0.0, 0.0], [80] * 4, 10 * (1 - 0.7), 10, 1) == [4, 3, 3, 2]
    assert kept_of_blocks([9.0, 0.0, 0.0, 0.0, 0.0], [80] * 5, 5.6, 8, 1) == [
        7,
        6,
        5,
        5,
        5,
    ]  # 4 to 7


@given(
    importance=st.lists(st.integers(0, 200).map(lambda n: n / 100), min_size=1, max_size=12),
    group=st.integers(2, 16),
    spread=st.integers(0, 4),
    data=st.data(),
)
def test_n_has_the_exact_mean_and_follows_importance(
    importance: list[float], group: int, spread: int, data: st.DataObject
):
    mean = data.draw(st.integers(1, group))
    kept = kept_of_blocks(importance, [group * 10] * len(importance), mean, group, spread)
    assert sum(kept) == mean * len(kept)
    assert max(mean - spread, 1) <= min(kept)
    assert max(kept) <= min(mean + spread, group)
    for (a, m), (b, n) in itertools.combinations(zip(importance, kept, strict=True), 2):
        assert (m - n) * (a - b) >= 0


def test_error_of_the_mean_is_at_most_half_a_step():
    kept = kept_of_blocks([0.1, 0.4, 0.2], [80] * 3, 4.4, 8, 1)
    assert sum(kept) == 13  # 13.2
    sizes = [80, 160, 240]
    kept = kept_of_blocks([0.1, 0.4, 0.2], sizes, 4, 8, 1)
    missed = sum((n - 4) * size / 8 for n, size in zip(kept, sizes, strict=True))
    assert abs(missed) <= 240 / 8 / 2


def answering(layer: nn.Module, factor: float) -> None:
    """Make a block return its input times `factor`: 1 bypasses it, -1 negates the stream."""

    class Stub(type(layer)):
        def forward(self, hidden_states, *args, **kwargs):
            super().forward(hidden_states, *args, **kwargs)
            return factor * hidden_states

    layer.__class__ = Stub


def test_importance_is_the_cosine_distance():
    model = tiny_model(blocks=4)
    for layer, factor in zip(model.layers, (-1, 1, 0, 1), strict=True):
        answering(layer, factor)
    details = PBS2P().apply(model, random_tokens()).details
    # The last block reads and returns zeros, so its cosine distance is 0.
    assert details["importance"] == pytest.approx([2, 0, 0.5, 0], abs=1e-9)
    assert details["kept"][0] == 5
    assert sum(details["kept"]) == 16


def groups(model: LanguageModel, group: int = 8) -> list[set[int]]:
    """Return the number of weights that groups of each block keep."""
    kept: list[set[int]] = [set() for _ in model.blocks]
    for block, _, linear in model.linears():
        counts = linear.weight.unflatten(1, (-1, group)).count_nonzero(dim=2)
        kept[block.index] |= set(counts.flatten().tolist())
    return kept


def test_sparsity_varies_n_and_a_pattern_fixes_it():
    model = tiny_model(blocks=6)
    outcome = PBS2P(sparsity=0.5).apply(model, random_tokens())
    assert groups(model) == [{n} for n in outcome.details["kept"]]
    assert len(set(outcome.details["kept"])) > 1
    assert outcome.achieved == 0.5
    model = tiny_model(blocks=6)
    outcome = PBS2P(pattern="4:8").apply(model, random_tokens())
    assert groups(model) == [{4}] * 6
    assert outcome.details == {"kept": [4] * 6, "importance": []}


@pytest.mark.parametrize("settings", [{"pattern": "8:8"}, {"sparsity": 0.01}])
def test_a_budget_below_one_weight_per_group_changes_nothing(settings: dict):
    model = tiny_model(blocks=4)
    dense = logits(model)
    outcome = PBS2P(**settings).apply(model, random_tokens())
    assert torch.equal(logits(model), dense)
    assert outcome.bits is None
    assert outcome.achieved == 0


def test_each_block_is_fitted_to_inputs_of_the_compressed_model():
    model, dense = tiny_model(), tiny_model()
    method, tokens = PBS2P(block_size=32), random_tokens()
    method.compress(model, tokens, [4, 5])
    for settled in (0, 1):  # the second block again, from the first as it has become, or as it was
        again = copy.deepcopy(dense)
        if settled:
            again.blocks[0].module.load_state_dict(model.blocks[0].module.state_dict())
        inputs: list[Tensor] = []
        q = again.blocks[1].attention.q
        handle = q.register_forward_pre_hook(lambda _, args, to=inputs: to.append(args[0]))
        logits(again, tokens)
        handle.remove()
        gram = Gram(q.in_features)
        gram.update(torch.cat(inputs))
        found = method.solve(q.weight, gram.matrix, inverse_factor(gram.matrix, 0.01), 5)
        agree = ((found - model.blocks[1].attention.q.weight).abs() < 1e-4).float().mean()
        assert (float(agree) > 0.99) == bool(settled)


def test_matrices_are_freed_before_the_next_block(monkeypatch):
    freed = FreedByBlock()
    monkeypatch.setattr(pbs2p, "Gram", freed.recorded(Gram))
    monkeypatch.setattr(pbs2p, "walk", freed.checked(walk))
    PBS2P().compress(tiny_model(), random_tokens(), [4, 5])
    assert freed.references


def test_groups_that_do_not_divide_are_refused_before_any_work():
    model = tiny_model()
    for settings, words in (
        ({"group": 12, "block_size": 24}, "N:12 does not divide the 32 inputs of block 0, q"),
        ({"block_size": 12}, "`block_size` must be divisible by the group size 8, got 12"),
        ({"sparsity": 0.9}, "at most 0.875"),
    ):
        with pytest.raises(BadInput, match=words):
            PBS2P(**settings).check(model, random_tokens())


# Bits


def test_bits_by_hand():
    assert bits_of(8, 8) == 1  # signs alone
    assert bits_of(4, 8) == pytest.approx(0.5 + math.log2(70) / 8)
    assert bits_of(2, 4) == pytest.approx(0.5 + math.log2(6) / 4)


def test_bits_count_signs_masks_and_the_scales_of_every_block_of_columns():
    # Rows of 32 and of 48 columns in blocks of 32: 1 and 2 times two numbers of 16 bits a row.
    bits = PBS2P(pattern="4:8", block_size=32).apply(tiny_model(), random_tokens()).bits
    rows = {32: 32 + 16 + 16 + 32 + 48 + 48, 48: 32}  # q, k, v, o, gate, up; down
    weights = sum(columns * count for columns, count in rows.items())
    scales = 32 * (rows[32] + 2 * rows[48])
    assert bits == pytest.approx(bits_of(4, 8) + scales / weights)


def test_bits_are_the_mean_of_blocks_that_differ():
    model, tokens = tiny_model(), random_tokens()
    both, *each = (
        PBS2P().compress(copy.deepcopy(model), tokens, n) for n in ([3, 5], [3, 3], [5, 5])
    )
    assert both == pytest.approx(sum(each) / 2)


# Real blocks


@pytest.mark.model
def test_on_real_blocks_steps_and_fits_help(first_blocks):
    whole = first_blocks.error("pbs2p", pattern="4:8")
    one_shot = first_blocks.error("pbs2p", pattern="4:8", stepwise=False)
    assert 0 < whole < 0.8 * one_shot
    assert whole < 0.8 * first_blocks.error("pbs2p", pattern="4:8", alternations=0)
