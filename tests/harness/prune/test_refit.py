"""Least squares and factors of damped Gram matrices."""

import copy

import pytest
import torch
from torch import Tensor

from implementations.harness import (
    AtlasWarning,
    NumericsError,
    damped_inverse,
    eliminate,
    inverse_factor,
    keep_refitted,
    keep_units,
    unit_costs,
)
from implementations.harness.contract.tiny import MODEL_TYPES, tiny_model
from implementations.harness.prune.refit import refit


def gram(width: int, tokens: int = 200, seed: int = 0) -> Tensor:
    """Return the Gram matrix of correlated inputs."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=generator) / width**0.5 + torch.eye(width)
    X = torch.randn(tokens, width, generator=generator) @ mix
    return X.T @ X


def damped(H: Tensor, damping: float = 0.01) -> Tensor:
    return H.double() + damping * H.double().diagonal().mean() * torch.eye(len(H))


def test_factor_contains_every_partial_inverse():
    H = gram(24)
    U = inverse_factor(H, 0.01).double()
    assert torch.equal(U, U.triu())
    for j in range(24):
        inverse = torch.linalg.inv(damped(H)[j:, j:])
        torch.testing.assert_close(U[j, j] ** 2, inverse[0, 0], rtol=1e-4, atol=0)
        torch.testing.assert_close(U[j, j] * U[j, j:], inverse[0], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("coupling", "damping", "raised"),
    [
        (1.0, 0.0, 0.01),  # [[1, 1], [1, 1]] is singular
        (1.05, 0.01, 0.1),  # positive definite as soon as 1 + damping > coupling
        (1.5, 0.02, 1.0),
    ],
)
def test_raises_damping_with_a_warning_if_factorisation_fails(coupling, damping, raised):
    H = torch.tensor([[1.0, coupling], [coupling, 1.0]])
    message = f"block 3, q, k, v: .* with damping {damping:g}, raised to {raised:g}$"
    with pytest.warns(AtlasWarning, match=message):
        factor = inverse_factor(H, damping, "block 3, q, k, v")
    assert torch.equal(factor, inverse_factor(H, raised))


@pytest.mark.parametrize(("damping", "last"), [(0.5, "1"), (1.5, "1.5")])
def test_fails_after_the_last_damping(damping, last):
    H = torch.tensor([[1.0, 4.0], [4.0, 1.0]])  # needs more than 3
    message = rf"block 3, o: .* even with damping {last}; check the calibration set"
    with pytest.raises(NumericsError, match=message):
        inverse_factor(H, damping, "block 3, o")


def test_refuses_hessian_that_is_not_finite():
    H = gram(8)
    H[2, 3] = H[3, 2] = float("nan")
    with pytest.raises(NumericsError, match="cannot be factorised"):
        inverse_factor(H, 0.01)


KEEP = torch.tensor([0, 2, 3, 7, 11, 12, 20])


def inputs(width: int = 24, tokens: int = 200) -> tuple[Tensor, Tensor]:
    """Return correlated inputs `X [in, tokens]` and a weight `[16, in]`, fp64."""
    generator = torch.Generator().manual_seed(1)
    mix = torch.randn(width, width, generator=generator, dtype=torch.float64)
    X = mix @ torch.randn(width, tokens, generator=generator, dtype=torch.float64)
    return X, torch.randn(16, width, generator=generator, dtype=torch.float64)


def test_refit_is_the_least_squares_solution():
    X, W = inputs()
    V = refit(W, X @ X.T, KEEP, damping=0)
    expected = torch.linalg.lstsq(X[KEEP].T, (W @ X).T).solution.T
    torch.testing.assert_close(V, expected, rtol=1e-9, atol=1e-9)
    residual = W @ X - V @ X[KEEP]
    assert (residual @ X[KEEP].T).abs().max() < 1e-8 * (X @ X.T).abs().max()


def test_damping_regularises_towards_the_original_weights():
    X, W = inputs()
    G = X @ X.T
    d = 0.1 * G.diagonal().mean()
    # min ||V X_K - W X||^2 + d ||V - W_K||^2 + d ||W_rest||^2, as rows of a larger problem
    extra = d.sqrt() * torch.eye(len(KEEP), dtype=torch.float64)
    system = torch.cat([X[KEEP].T, extra])
    target = torch.cat([(W @ X).T, extra @ W[:, KEEP].T])
    expected = torch.linalg.lstsq(system, target).solution.T
    torch.testing.assert_close(refit(W, G, KEEP, 0.1), expected, rtol=1e-8, atol=1e-8)


def test_silent_inputs_and_too_few_tokens():
    X, W = inputs(tokens=10)
    X[4] = 0
    with pytest.warns(AtlasWarning, match="block 1, down: .* raised to 0.01"):
        V = refit(W, X @ X.T, torch.arange(20), 0.0, "block 1, down")
    assert V.isfinite().all()
    torch.testing.assert_close(V[:, 4], W[:, 4])  # nothing is known of it
    assert refit(W, X @ X.T, torch.arange(0), 0.01).shape == (16, 0)


@pytest.mark.parametrize("damping", [0.0, 0.05])
@pytest.mark.parametrize("steps", [[[1, 2, 3, 8, 15]], [[8], [1, 3], [2, 15]]])
def test_eliminate_equals_refit(damping, steps):
    X, W = inputs()
    G = X @ X.T
    weight, inverse = W.clone(), damped_inverse(G, damping)
    for columns in steps:
        eliminate(weight, inverse, torch.tensor(columns))
    removed = torch.tensor([1, 2, 3, 8, 15])
    keep = torch.ones(24, dtype=torch.bool)
    keep[removed] = False
    torch.testing.assert_close(weight[:, keep], refit(W, G, keep, damping), rtol=1e-8, atol=1e-8)
    assert (weight[:, removed] == 0).all()
    assert (inverse[removed] == 0).all()
    assert (inverse[:, removed] == 0).all()
    left = damped(G, damping)[keep][:, keep]
    torch.testing.assert_close(
        inverse[keep][:, keep], torch.linalg.inv(left), rtol=1e-7, atol=1e-10
    )


@pytest.mark.parametrize("family", list(MODEL_TYPES))
@pytest.mark.parametrize(
    ("kind", "role"),
    [("kv-groups", "o"), ("value-dims", "o"), ("query-heads", "o"), ("channels", "down")],
)
@torch.no_grad()
def test_keep_refitted_changes_only_the_layer_that_reads_the_units(family, kind, role):
    block = tiny_model(family).blocks[1]
    cut, linear = copy.deepcopy(block), block.linears()[role]
    keep = torch.arange(len(unit_costs(block, kind))) % 2 == 0
    H, dense = gram(linear.in_features), linear.weight.clone()
    keep_refitted(block, kind, keep, H, 0.1)
    keep_units(cut, kind, keep)
    for name, other in cut.linears().items():
        if name != role:
            assert torch.equal(block.linears()[name].weight, other.weight)
    stay = torch.stack(
        [(dense[:, [i]] == cut.linears()[role].weight).all(0).any() for i in range(len(H))]
    )
    fitted = refit(dense, H, stay, 0.1)
    torch.testing.assert_close(block.linears()[role].weight, fitted.float())
    plain = torch.equal(block.linears()[role].weight, cut.linears()[role].weight)
    assert plain == bool(keep.all())


@torch.no_grad()
def test_warning_of_raised_damping_names_block_and_layer():
    block = tiny_model().blocks[1]
    with pytest.warns(AtlasWarning, match="^block 1, down: .* raised to 0.01$"):
        keep_refitted(block, "channels", torch.arange(48) > 3, torch.ones(48, 48), 0)
