"""SparseGPT: closed forms, a slow reference implementation, and the real model."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from implementations.harness import AtlasWarning, BadInput, Gram, inverse_factor, sparse_solve
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.data.tokens import Tokens
from implementations.harness.model.view import LanguageModel
from implementations.harness.prune.weight_method import parse_pattern
from implementations.sparsegpt import SparseGPT

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


def damped(H: Tensor, damping: float = 0.01) -> Tensor:
    return H.double() + damping * H.double().diagonal().mean() * torch.eye(len(H))


def layer_error(before: Tensor, after: Tensor, H: Tensor) -> float:
    """`||W X - W^ X||^2` as `trace(D H D^T)`, in fp64."""
    D = (before - after).double()
    return float(((D @ H.double()) * D).sum())


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


def test_one_column_equals_the_obs_update():
    W, H = problem()
    mask = torch.zeros_like(W, dtype=torch.bool)
    mask[:, 0] = True
    inverse = torch.linalg.inv(damped(H))
    expected = W - torch.outer(W[:, 0].double() / inverse[0, 0], inverse[0])  # Eq. 3
    torch.testing.assert_close(pruned(W, H, mask=mask).double(), expected, rtol=1e-4, atol=1e-5)


def test_updates_only_later_columns():
    W, H = problem()
    mask = torch.zeros_like(W, dtype=torch.bool)
    mask[:, 40] = True
    inverse = torch.linalg.inv(damped(H)[40:, 40:])
    expected = W.double()
    expected[:, 40:] -= torch.outer(W[:, 40].double() / inverse[0, 0], inverse[0])
    result = pruned(W, H, mask=mask)
    assert torch.equal(result[:, :40], W[:, :40])
    torch.testing.assert_close(result.double(), expected, rtol=1e-4, atol=1e-5)


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


@pytest.mark.parametrize("settings", [{"sparsity": 0}, {"pattern": "4:4"}], ids=str)
def test_nothing_to_remove_changes_no_bit(settings):
    W, H = problem()
    H[:, 5] = H[5, :] = 0  # not even where an input is silent
    assert torch.equal(pruned(W, H, **settings), W)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_diagonal_hessian_does_not_change_kept_weights(settings):
    W, _ = problem()
    squares = torch.rand(64, generator=torch.Generator().manual_seed(2)) + 0.1  # ||X_j||^2
    result = pruned(W, squares.diag(), damping=0, **settings)
    kept = result != 0
    assert torch.equal(result[kept], W[kept])


def test_diagonal_hessian_and_one_block_compare_the_whole_matrix():
    W, _ = problem()
    W[0] = 100  # one huge row tells the whole matrix from single rows
    squares = torch.rand(64, generator=torch.Generator().manual_seed(2)) + 0.1
    removed = pruned(W, squares.diag(), sparsity=0.5, damping=0) == 0
    scores = W**2 * squares  # Wanda's, squared
    assert removed.sum() == W.numel() // 2
    assert scores[removed].max() < scores[~removed].min()
    assert not removed[0].any()


@pytest.mark.parametrize("settings", [{"sparsity": 0.5}, {"pattern": "1:4"}], ids=str)
def test_diagonal_hessian_gives_wandas_mask(settings):
    # One row in one block, or N:M: then both compare the same weights, by |w| ||X_j||.
    W, _ = problem(rows=1 if "sparsity" in settings else 12)
    squares = torch.rand(64, generator=torch.Generator().manual_seed(2)) + 0.1
    removed = pruned(W, squares.diag(), damping=0, **settings) == 0
    keep, group = SparseGPT(**settings).pattern or (32, 64)
    groups = (W.abs() * squares.sqrt()).unflatten(1, (-1, group))
    lowest = groups.argsort(dim=-1)[..., : group - keep]
    expected = torch.zeros_like(groups, dtype=torch.bool).scatter_(-1, lowest, True)
    assert torch.equal(removed, expected.flatten(1))


@pytest.mark.parametrize("seed", range(20))
def test_error_lies_between_least_squares_and_the_mask_alone(seed):
    W, H = problem(rows=8, width=32, tokens=64, seed=seed)
    result = pruned(W, H, sparsity=0.5, block_size=8)
    removed = result == 0
    best = torch.zeros_like(W, dtype=torch.float64)
    for row, keep in enumerate(~removed):  # Eq. 2: least squares on the kept inputs of each row
        left = damped(H)[keep][:, keep]
        best[row, keep] = torch.linalg.solve(left, damped(H)[keep] @ W[row].double())
    errors = [layer_error(W, W_, damped(H)) for W_ in (best, result, W.masked_fill(removed, 0))]
    assert errors[0] < errors[1] < 0.9 * errors[2]


@pytest.mark.parametrize(
    ("sparsity", "expected"),  # of blocks of 200, 200 and 100 weights, rounded down
    [
        (0.004, [0, 0, 0]),
        (0.005, [1, 1, 0]),
        (0.29, [58, 58, 29]),
        (0.5, [100, 100, 50]),
        (0.996, [199, 199, 99]),
        (1.0, [200, 200, 100]),
    ],
)
@pytest.mark.parametrize("ties", [False, True])
def test_each_block_meets_the_sparsity_exactly(sparsity, expected, ties):
    W, H = problem(rows=10, width=50)
    if ties:
        W, H = torch.ones_like(W), torch.eye(50)
    removed = pruned(W, H, sparsity=sparsity, block_size=20) == 0
    assert [int(part.sum()) for part in removed.split(20, dim=1)] == expected


@pytest.mark.parametrize("pattern", ["1:4", "2:4", "4:8", "3:4"])
@pytest.mark.parametrize("ties", [False, True])
def test_each_group_keeps_its_number_of_weights(pattern, ties):
    W, H = problem()
    if ties:
        W, H = torch.ones_like(W), torch.eye(64)
    keep, group = parse_pattern(pattern)
    kept = (pruned(W, H, pattern=pattern) != 0).unflatten(1, (-1, group))
    assert (kept.sum(dim=-1) == keep).all()


def test_keep_comes_first_in_a_pattern():
    # H = I: scores are w^2 and nothing moves. 1:4 keeps the largest of each four.
    W = torch.tensor([[1.0, 4, 2, 3, 8, 7, 5, 6]])
    result = pruned(W, torch.eye(8), pattern="1:4")
    assert result.tolist() == [[0, 4, 0, 0, 8, 0, 0, 0]]


def test_groups_are_selected_after_compensation():
    # Inputs 1 and 4 are correlated by r = 0.9, all others independent. 3:4 removes w_1 = 1 from
    # the first group; w_4 becomes 0.5 + 0.9 * 1 = 1.4 and outlives w_5 = 0.6, which the dense
    # weights would have kept.
    H = torch.eye(8)
    H[1, 4] = H[4, 1] = 0.9
    W = torch.tensor([[9.0, 1, 9, 9, 0.5, 0.6, 9, 9]])
    result = pruned(W, H, pattern="3:4", damping=0)
    torch.testing.assert_close(result, torch.tensor([[9.0, 0, 9, 9, 1.4, 0, 9, 9]]))


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


def test_all_inputs_silent():
    result = pruned(torch.ones(4, 8), torch.zeros(8, 8), sparsity=0.5)
    assert sorted(result.flatten().tolist()) == [0.0] * 16 + [1.0] * 16


@pytest.mark.parametrize("scale", [1e-3, 3.0, 1e4])
@pytest.mark.parametrize("settings", [{"sparsity": 0.5}, {"pattern": "2:4"}], ids=str)
def test_rescaled_inputs_change_nothing(scale, settings):
    W, H = problem()
    H[:, 5] = H[5, :] = 0
    plain, scaled = pruned(W, H, **settings), pruned(W, H * scale**2, **settings)
    assert torch.equal(plain == 0, scaled == 0)
    torch.testing.assert_close(plain, scaled, rtol=1e-4, atol=1e-5)


def test_repeating_the_calibration_changes_nothing():
    W, _ = problem(width=32)
    X = torch.randn(100, 32, generator=torch.Generator().manual_seed(3))
    once, twice = Gram(32), Gram(32)
    once.update(X)
    twice.update(torch.cat([X, X]))
    torch.testing.assert_close(
        pruned(W, once.matrix), pruned(W, twice.matrix), rtol=1e-4, atol=1e-5
    )


def test_a_warning_of_the_solver_reaches_the_outcome():
    # 8 tokens span 8 of the 32 directions of the input: without damping nothing can be inverted.
    with pytest.warns(AtlasWarning):
        outcome = SparseGPT(damping=0).apply(tiny_model(), random_tokens(1, 8))
    assert "block 0, q, k, v: Hessian not positive definite" in outcome.warnings[0]
    assert outcome.achieved == 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sparsity": 1.5}, "sparsity: .*less than or equal to 1"),
        ({"sparsity": float("nan")}, "sparsity: .*finite number"),
        ({"pattern": "5:4"}, "pattern '5:4' is not KEEP:GROUP"),
        ({"block_size": 0}, "block_size: .*greater than or equal to 1"),
        ({"damping": -0.1}, "damping: .*greater than or equal to 0"),
        ({"damping": float("inf")}, "damping: .*finite number"),
        ({"dampening": 0.1}, "did you mean 'damping'?"),
    ],
)
def test_wrong_parameters_are_refused(settings, message):
    with pytest.raises(BadInput, match=message):
        SparseGPT.configure(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pattern": "2:5", "block_size": 5}, "2:5 does not divide the 32 inputs of block 0, q"),
        ({"pattern": "2:4", "block_size": 6}, "divisible by 4 for pattern 2:4, got 6"),
    ],
)
def test_refused_patterns_do_not_change_the_model(settings, message):
    model = tiny_model()
    before = {name: tensor.clone() for name, tensor in model.hf.state_dict().items()}
    with pytest.raises(BadInput, match=message):
        SparseGPT(**settings).apply(model, random_tokens())
    assert all(torch.equal(before[name], now) for name, now in model.hf.state_dict().items())


def inputs(model: LanguageModel, calibration: Tokens, index: int) -> dict[str, Tensor]:
    """Collect the inputs of each linear layer of a block, `[tokens, in]`, by hooks."""
    seen: dict[str, Tensor] = {}

    def watch(role):
        return lambda _, args: seen.__setitem__(role, args[0].flatten(end_dim=-2))

    linears = model.blocks[index].linears()
    hooks = [linear.register_forward_pre_hook(watch(role)) for role, linear in linears.items()]
    with torch.no_grad():
        model.hf(calibration.ids)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_each_block_sees_the_pruned_ones_before_it_and_itself_dense(family):
    calibration, config = random_tokens(8, 24), SparseGPT(sparsity=0.5)
    dense = tiny_model(family, blocks=3)
    result = copy.deepcopy(dense)
    config.apply(result, calibration)
    half = copy.deepcopy(result)
    half.layers[2].load_state_dict(dense.layers[2].state_dict())  # blocks 0 and 1 pruned
    for model, agrees in ((half, True), (dense, False)):
        seen = inputs(model, calibration, 2)
        for role, linear in dense.blocks[2].linears().items():
            with torch.no_grad():
                expected = pruned(linear.weight, seen[role].T @ seen[role], sparsity=0.5)
            actual = result.blocks[2].linears()[role].weight
            close = torch.allclose(actual, expected, rtol=1e-3, atol=1e-3)
            assert close == agrees, role


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
