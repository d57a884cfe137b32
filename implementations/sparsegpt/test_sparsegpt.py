"""SparseGPT: closed forms, a slow reference implementation, and the real model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from implementations.harness import (
    AtlasWarning,
    BadInput,
    Gram,
    Tokens,
    inverse_factor,
    sparse_solve,
    walk,
)
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.sparsegpt import SparseGPT, sparsegpt
from tests.observation import FreedByBlock, check_walk
from tests.one_layer import damped, layer_error, least_squares

SETTINGS = [
    {"sparsity": 0.5, "block_size": 128},
    {"sparsity": 0.5, "block_size": 16},
    {"sparsity": 0.7, "block_size": 24},  # does not divide the width
    {"sparsity": 0.3, "block_size": 1},
    {"pattern": "2:4"},
    {"pattern": "1:4", "block_size": 8},
    {"pattern": "4:8", "block_size": 16},
    {"pattern": "16:64", "block_size": 64},  # a group wider than a panel
]


def problem(rows: int = 12, width: int = 64, tokens: int = 200, seed: int = 0):
    """Return weights [rows, width] and the Gram matrix of correlated inputs."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=generator) / width**0.5 + torch.eye(width)
    X = torch.randn(tokens, width, generator=generator) @ mix
    return torch.randn(rows, width, generator=generator), X.T @ X


def pruned(W: Tensor, H: Tensor, *, mask: Tensor | None = None, **settings) -> Tensor:
    """Run factorisation and solver as the method does."""
    config = SparseGPT(**settings)
    factor, silent = inverse_factor(H, config.damping), H.diagonal() == 0
    if mask is None:
        return config.solve(W, factor, silent)
    parts = iter(mask.split(config.block_size, dim=1))
    return sparse_solve(W, factor, silent, lambda _: next(parts), config.block_size)


def reference(W: Tensor, H: Tensor, config: SparseGPT, mask: Tensor | None = None):
    """Prune column by column as in Section 3.1, inverting the remaining H at every step.

    Returns the weights, the mask and the sum of all OBS errors `eps = w^2 / [H_U^-1]_jj`, fp64.
    """
    W, H, width = W.double().clone(), damped(H, config.damping), W.shape[1]
    inverses = [torch.linalg.inv(H[j:, j:]) for j in range(width)]  # of the columns still free
    chosen = torch.zeros_like(W, dtype=torch.bool) if mask is None else mask
    unit = config.pattern.group if config.pattern else config.block_size
    eps = 0.0
    for j in range(width):
        if mask is None and j % unit == 0:
            ahead = range(j, min(j + unit, width))
            scores = torch.stack([W[:, i] ** 2 / inverses[i][0, 0] for i in ahead], dim=1)
            if config.pattern:
                for row in range(len(W)):
                    order = sorted(ahead, key=lambda i, row=row: float(scores[row, i - j]))
                    chosen[row, order[: config.pattern.group - config.pattern.keep]] = True
            else:
                cells = [(row, i) for row in range(len(W)) for i in ahead]
                cells.sort(key=lambda cell, j=j: float(scores[cell[0], cell[1] - j]))
                for row, i in cells[: int(config.sparsity * len(cells) + 1e-9)]:
                    chosen[row, i] = True
        w = torch.where(chosen[:, j], W[:, j], 0.0)
        eps += float((w**2 / inverses[j][0, 0]).sum())
        W[:, j:] -= torch.outer(w / inverses[j][0, 0], inverses[j][0])  # Eq. 3 on what is free
        W[chosen[:, j], j] = 0
    return W, chosen, eps


def test_second_weight_compensates_for_the_first():
    # H = [[1, r], [r, 1]], r = 1/2: eps_0 = w_0^2 (1 - r^2) = 0.75 is below eps_1 = 0.9^2 = 0.81,
    # so the larger weight goes, and its partner becomes w_1 + r w_0 = 1.4.
    W, H = torch.tensor([[1.0, 0.9]]), torch.tensor([[1.0, 0.5], [0.5, 1.0]])
    result = pruned(W, H, sparsity=0.5, damping=0)
    torch.testing.assert_close(result, torch.tensor([[0.0, 1.4]]))
    assert layer_error(W, result, H) == pytest.approx(0.75)


def test_first_weight_does_not_compensate_for_the_second():
    # Now eps_1 = 0.64 < 0.75. The first column is already past, and stays.
    W, H = torch.tensor([[1.0, 0.8]]), torch.tensor([[1.0, 0.5], [0.5, 1.0]])
    result = pruned(W, H, sparsity=0.5, damping=0)
    torch.testing.assert_close(result, torch.tensor([[1.0, 0.0]]))
    assert layer_error(W, result, H) == pytest.approx(0.64)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_equals_inversion_at_every_column(settings):
    W, H = problem()
    expected, mask, eps = reference(W, H, SparseGPT(**settings))
    result = pruned(W, H, **settings)
    assert torch.equal(result == 0, mask)
    torch.testing.assert_close(result.double(), expected, rtol=1e-3, atol=1e-4)
    # The OBS errors add up to the layer's: trace((W - W^) H (W - W^)^T) = sum of eps.
    assert layer_error(W, result, damped(H)) == pytest.approx(eps, rel=1e-4)


def test_block_size_does_not_matter_under_a_fixed_mask():
    W, H = problem(width=200, tokens=600)
    mask = torch.rand(W.shape, generator=torch.Generator().manual_seed(1)) < 0.5
    whole = pruned(W, H, mask=mask, block_size=200)
    assert torch.equal(whole == 0, mask)
    for size in (1, 4, 7, 33, 128):
        torch.testing.assert_close(
            pruned(W, H, mask=mask, block_size=size), whole, rtol=1e-5, atol=1e-5
        )
    expected, _, _ = reference(W, H, SparseGPT(), mask)
    torch.testing.assert_close(whole.double(), expected, rtol=1e-4, atol=1e-4)


def test_uncorrelated_inputs_change_no_kept_weight_and_compare_over_the_whole_matrix():
    W, _ = problem()
    H = torch.logspace(-1, 1, 64).diag()
    result = pruned(W, H, sparsity=0.5, damping=0)  # one block of columns
    costs = W.square() * H.diagonal()  # those of Wanda, squared
    removed = costs < costs.flatten().sort().values[costs.numel() // 2]
    assert torch.equal(result, W.masked_fill(removed, 0))


@pytest.mark.parametrize("settings", [{"sparsity": 0.5}, {"pattern": "2:4"}], ids=str)
def test_error_lies_between_exact_least_squares_and_no_compensation(settings):
    for seed in range(5):
        W, H = problem(seed=seed)
        result = pruned(W, H, **settings)
        best = least_squares(W, damped(H), result == 0)
        plain = W.masked_fill(result == 0, 0)
        exact, ours, without = (layer_error(W, V, damped(H)) for V in (best, result, plain))
        assert exact < ours < without


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_scale_of_the_inputs_does_not_matter(settings):
    W, H = problem()
    expected = pruned(W, H, **settings)
    for scale in (1e-3, 3, 1e3):
        result = pruned(W, scale**2 * H, **settings)
        assert torch.equal(result == 0, expected == 0)
        torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)


def test_repeating_the_calibration_set_changes_nothing():
    calibration = random_tokens()
    twice = Tokens.from_ids(torch.cat([calibration.ids] * 2), "twice", calibration.batch_size)
    one, other = tiny_model(), tiny_model()
    SparseGPT().apply(one, calibration)
    SparseGPT().apply(other, twice)
    for (_, _, expected), (_, _, linear) in zip(one.linears(), other.linears(), strict=True):
        torch.testing.assert_close(linear.weight, expected.weight, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("settings", [{"sparsity": 0}, {"pattern": "4:4"}], ids=str)
def test_nothing_to_remove_changes_no_bit(settings):
    W, H = problem()
    H[:, 5] = H[5, :] = 0  # not even where an input is silent
    assert torch.equal(pruned(W, H, **settings), W)


def test_removes_silent_inputs_first_at_no_cost():
    W, H = problem()
    for silent in (3, 30):
        H[:, silent] = H[silent, :] = 0
        W[:, silent] = 100.0  # however large
    result = pruned(W, H, sparsity=0.25)
    assert result.isfinite().all()
    assert (result[:, [3, 30]] == 0).all()
    assert (result == 0).sum() == W.numel() // 4
    others = [j for j in range(64) if j not in (3, 30)]  # as if the two were not there
    rest = W[:, others].clone()
    left = W.numel() // 4 - 2 * len(W)
    # Damping is relative to the mean over all inputs, the silent ones too.
    config = SparseGPT(sparsity=left / rest.numel(), damping=0.01 * 62 / 64)
    factor = inverse_factor(H[others][:, others], config.damping)
    alone = config.solve(rest, factor, torch.zeros(62, dtype=torch.bool))
    torch.testing.assert_close(result[:, others], alone, rtol=1e-4, atol=1e-5)


def test_more_silent_inputs_than_weights_to_remove():
    W, H = torch.ones(4, 8), torch.zeros(8, 8)
    H[0, 0] = 1
    result = pruned(W, H, sparsity=0.5)
    assert (result == 0).sum() == 16
    assert (result[:, 0] == 1).all()
    assert torch.equal(result[result != 0], torch.ones(16))


def test_a_warning_of_the_solver_reaches_the_outcome():
    # 8 tokens span 8 of the 32 directions of the input: without damping nothing can be inverted.
    with pytest.warns(AtlasWarning):
        outcome = SparseGPT(damping=0).apply(tiny_model(), random_tokens(1, 8))
    assert "block 0, q, k, v: Hessian not positive definite" in outcome.warnings[0]
    assert outcome.achieved == 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pattern": "2:5", "block_size": 5}, "2:5 does not divide the 32 inputs of block 0, q"),
        ({"pattern": "2:4", "block_size": 6}, "divisible by the group size 4, got 6"),
    ],
)
def test_refuses_patterns_that_do_not_divide(settings, message):
    model = tiny_model()
    with pytest.raises(BadInput, match=message):
        SparseGPT(**settings).check(model, random_tokens())


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_each_block_sees_the_pruned_ones_before_it_and_itself_dense(family):
    check_walk(SparseGPT(), lambda W, gram: pruned(W, gram.float()), family)


def test_hessians_are_freed_before_the_next_block(monkeypatch):
    freed = FreedByBlock()
    monkeypatch.setattr(sparsegpt, "Gram", freed.recorded(Gram))
    monkeypatch.setattr(sparsegpt, "walk", freed.checked(walk))
    SparseGPT().apply(tiny_model(), random_tokens())
    assert freed.references


@pytest.mark.model
def test_on_the_real_model_it_beats_wanda_and_magnitude(first_blocks):
    half = [first_blocks.error(s, sparsity=0.5) for s in ("sparsegpt", "wanda", "magnitude")]
    assert half[0] < half[1] < half[2]
    pairs = [first_blocks.error(s, pattern="2:4") for s in ("sparsegpt", "wanda")]
    assert half[0] < pairs[0] < pairs[1]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_solver_computes_algorithm_1(settings):
    W, H = problem(rows=24, width=128)
    H[:, 5] = H[5, :] = 0
    config, silent = SparseGPT(**settings), H.diagonal() == 0
    expected = config.algorithm_1(W, inverse_factor(H, config.damping), silent)
    result = pruned(W, H, **settings)
    assert torch.equal(result == 0, expected == 0)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)
