"""ADMM pruning: exact solutions, values of the official code, masks, and the real model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from implementations.admmpruning import ADMMPruning, admmpruning
from implementations.harness import BadInput, Gram, walk
from implementations.harness.contract.tiny import random_tokens, tiny_model
from tests.observation import FreedByBlock, check_walk
from tests.one_layer import layer_error, least_squares


def problem(rows: int = 12, width: int = 32, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return weights [rows, width] and the Gram matrix of correlated inputs of unequal norms."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=generator) / width**0.5 + torch.eye(width)
    X = torch.randn(4 * width, width, generator=generator) @ mix
    X *= torch.logspace(-1, 1, width)
    return torch.randn(rows, width, generator=generator), X.T @ X


def pruned(W: Tensor, gram: Tensor, **settings) -> Tensor:
    method = ADMMPruning(**settings)
    return method.solve(W, *method.scale(gram))


def damped(gram: Tensor, damping: float = 0.1) -> Tensor:
    """Return X^T X plus the damping of the scaled problem, in the unscaled one, fp64."""
    return gram.double() + damping * gram.double().diagonal().diag()  # D (0.1 I) D


@pytest.mark.parametrize(
    "setting",
    [
        {"sparsity": 0.7},
        {"pattern": "2:4"},
        {"sparsity": 0.7, "penalty": 0.5},
        {"sparsity": 0.7, "penalty": 2.0},
        {"sparsity": 0.7, "damping": 0.2},
    ],
    ids=str,
)
def test_a_fixed_mask_converges_to_the_exact_solution(setting):
    W, gram = problem()
    H, masked = (
        damped(gram, setting.get("damping", 0.1)),
        pruned(W, gram, iterations=0, choosing=0, **setting),
    )
    best = least_squares(W, H, masked == 0)
    for iterations, accuracy in ((20, 1e-4), (200, 1e-6)):
        result = pruned(W, gram, iterations=iterations, choosing=0, **setting)
        assert torch.equal(result == 0, masked == 0)
        assert layer_error(W, result, H) == pytest.approx(layer_error(W, best, H), rel=accuracy)
    torch.testing.assert_close(result.double(), best, rtol=1e-3, atol=1e-4)
    assert layer_error(W, best, H) < 0.9 * layer_error(W, masked, H)  # there is much to update


@pytest.mark.parametrize("setting", [{"sparsity": 0.7}, {"pattern": "2:4"}], ids=str)
@pytest.mark.parametrize("gradual", [True, False])
def test_choosing_again_beats_the_best_weights_under_the_first_mask(setting, gradual):
    W, gram = problem(rows=32)
    H, masked = damped(gram), pruned(W, gram, iterations=0, choosing=0, **setting)
    result = pruned(W, gram, gradual=gradual, **setting)
    best = least_squares(W, H, masked == 0)
    assert layer_error(W, result, H) < 0.95 * layer_error(W, best, H)


# Results of the official code (commit 8039208) after five iterations, of which four choose masks.
# The last one comes from its mask within a row, which for one row is the mask of the matrix.
WEIGHT = [[0.7, 1.7, -1.4, 1, 1.2, 0.5, 0.4, -0.1], [-2.1, -1, 0.9, -0.6, 1.9, 0.3, -0.8, 0.1]]
OFFICIAL = [
    (
        {"sparsity": 0.5, "gradual": False},
        [
            [0, 1.9440749, -1.3433253, 1.0397617, 1.3445804, 0.6337295, 0, 0],
            [-2.5301805, 0, 0, 0, 1.8922307, 0, -0.6368042, 0],
        ],
    ),
    (
        {"pattern": "2:4"},
        [
            [0, 2.2039363, -0.9269397, 0, 1.5760078, 0.8038819, 0, 0],
            [-2.0535414, -0.6645103, 0, 0, 1.9509897, 0, -0.6263736, 0],
        ],
    ),
    ({"sparsity": 0.75}, [[0, 1.6507713, 0, 0, 1.8003156, 0, 0, 0]]),
]


@pytest.mark.parametrize(("settings", "expected"), OFFICIAL, ids=str)
def test_equals_the_official_code(settings, expected):
    n = torch.arange(8.0)
    correlations = (-(n - n[:, None]).abs() / 4).exp() + torch.eye(8) / 10
    gram = correlations * ((n + 1) * (n[:, None] + 1)).sqrt()
    W = torch.tensor(WEIGHT)[: len(expected)]
    result = pruned(W, gram, iterations=5, choosing=4, **settings)
    torch.testing.assert_close(result, torch.tensor(expected).float(), rtol=1e-5, atol=1e-5)


def test_masks_of_the_first_iteration_are_wandas_over_the_whole_matrix():
    W, gram = problem()
    result = pruned(W, gram, sparsity=0.4, choosing=1)
    scores = W.abs() * gram.diagonal().sqrt()
    lowest = scores.flatten().argsort()[: int(0.4 * W.numel())]
    assert (result.flatten()[lowest] == 0).all()
    assert result.count_nonzero() == W.numel() - len(lowest)


def test_the_share_rises_cubically_to_the_sparsity(monkeypatch):
    W, gram = problem()
    mask, masks = ADMMPruning.mask, []

    def recorded(*arguments):
        masks.append(mask(*arguments))
        return masks[-1]

    monkeypatch.setattr(ADMMPruning, "mask", recorded)
    for setting, s in (({"sparsity": 0.7}, 0.7), ({"pattern": "1:4"}, 0.75)):
        masks.clear()
        result = pruned(W, gram, **setting)
        shares = [s * (1 - (1 - (t + 1) / 15) ** 3) for t in range(15)]
        assert [int(m.sum()) for m in masks[1:]] == [int(c * W.numel() + 1e-9) for c in shares]
        assert torch.equal(result == 0, masks[-1])
        groups = masks[5].unflatten(1, (-1, 4))  # of the pattern, the largest stays at any time
        assert "pattern" not in setting or (groups.sum(dim=-1) <= 3).all()
        masks.clear()
        pruned(W, gram, gradual=False, **setting)
        assert {int(m.sum()) for m in masks} == {int(s * W.numel())}


def test_scaling_an_input_and_its_weights_back_changes_nothing():
    W, gram = problem()
    factors = torch.logspace(-2, 2, len(gram))
    expected = pruned(W, gram, sparsity=0.6)
    result = pruned(W / factors, gram * factors * factors[:, None], sparsity=0.6)
    torch.testing.assert_close(result * factors, expected, rtol=1e-4, atol=1e-4)


def test_without_correlations_kept_weights_do_not_change():
    W, gram = problem()
    result = pruned(W, gram.diagonal().diag(), sparsity=0.5, choosing=1)
    torch.testing.assert_close(result[result != 0], W[result != 0], rtol=1e-5, atol=0)


def test_silent_inputs_are_removed_first():
    W, gram = problem()
    gram[[3, 30]], gram[:, [3, 30]], W[:, [3, 30]] = 0, 0, 100.0
    result = pruned(W, gram, sparsity=0.25)
    assert result.isfinite().all()
    assert not result[:, [3, 30]].any()
    assert (result == 0).sum() == W.numel() // 4


def test_nothing_to_remove_changes_no_bit():
    W, gram = problem()
    assert torch.equal(pruned(W, gram, pattern="4:4"), W)


def test_refuses_to_choose_masks_after_the_last_iteration():
    with pytest.raises(BadInput, match="`choosing` must be at most `iterations`, 10, got 15"):
        ADMMPruning(iterations=10).check(tiny_model(), random_tokens())


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_each_block_sees_the_pruned_ones_before_it_and_itself_dense(family):
    check_walk(ADMMPruning(), lambda W, gram: pruned(W, gram.float()), family)


def test_matrices_are_freed_before_the_next_block(monkeypatch):
    freed = FreedByBlock()
    monkeypatch.setattr(admmpruning, "Gram", freed.recorded(Gram))
    monkeypatch.setattr(admmpruning, "walk", freed.checked(walk))
    ADMMPruning().apply(tiny_model(), random_tokens())
    assert freed.references


@pytest.mark.model
def test_on_the_real_model_it_beats_sparsegpt(first_blocks):
    errors = [first_blocks.error(slug, sparsity=0.7) for slug in ("admmpruning", "sparsegpt")]
    assert errors[0] < errors[1]
