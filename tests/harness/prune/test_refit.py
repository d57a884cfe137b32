"""Factors of damped Gram matrices: what they hold, when damping is raised, what is refused."""

import pytest
import torch
from torch import Tensor

from implementations.harness import AtlasWarning, NumericsError, inverse_factor


def gram(width: int, tokens: int = 200, seed: int = 0) -> Tensor:
    """Return the Gram matrix of correlated inputs."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=generator) / width**0.5 + torch.eye(width)
    X = torch.randn(tokens, width, generator=generator) @ mix
    return X.T @ X


def damped(H: Tensor, damping: float = 0.01) -> Tensor:
    return H.double() + damping * H.double().diagonal().mean() * torch.eye(len(H))


def test_factor_holds_every_partial_inverse():
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
        (1.005, 0.0, 0.01),  # positive definite as soon as 1 + damping > coupling
        (1.05, 0.01, 0.1),
        (1.5, 0.02, 1.0),
    ],
)
def test_a_failed_factorisation_raises_the_damping_and_says_so(coupling, damping, raised):
    H = torch.tensor([[1.0, coupling], [coupling, 1.0]])
    message = f"block 3, q, k, v: .* with damping {damping:g}, raised to {raised:g}$"
    with pytest.warns(AtlasWarning, match=message):
        factor = inverse_factor(H, damping, "block 3, q, k, v")
    assert torch.equal(factor, inverse_factor(H, raised))


@pytest.mark.parametrize(("damping", "last"), [(0.0, "1"), (0.5, "1"), (0.9999, "1"), (1.5, "1.5")])
def test_it_gives_up_after_the_last_damping(damping, last):
    H = torch.tensor([[1.0, 4.0], [4.0, 1.0]])  # needs more than 3
    message = rf"block 3, o: .* even with damping {last}; check the calibration data"
    with pytest.raises(NumericsError, match=message):
        inverse_factor(H, damping, "block 3, o")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_hessian_that_is_not_finite_is_refused(value):
    H = gram(8)
    H[2, 3] = H[3, 2] = value
    with pytest.raises(NumericsError, match="cannot be factorised"):
        inverse_factor(H, 0.01)
