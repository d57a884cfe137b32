"""Least squares on what calibration saw of a layer's inputs: factors of damped Gram matrices."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from implementations.harness.errors import AtlasWarning, NumericsError

RAISED = (0.01, 0.1, 1.0)  # dampings tried in turn when the one asked for is not enough


def inverse_factor(hessian: Tensor, damping: float, where: str = "layer") -> Tensor:
    """Return the upper triangular `U` with `(H + damping * mean(diag H) * I)^-1 = U^T U`, fp32.

    `U_jj^2` is the first diagonal entry of the inverse of `H_j:,j:` and `U_jj * U_j,j:` its first
    row: all that Eq. 3-5 need of every partial inverse. A factorisation that fails is tried again
    with the dampings of `RAISED`, each with an `AtlasWarning`; raises `NumericsError` after the
    last.
    """
    hessian = hessian.float()
    silent = hessian.diagonal() == 0
    mean = hessian.diagonal().mean()
    dampings = (damping, *(more for more in RAISED if more > damping))
    for tried in dampings:
        damped = hessian + torch.diag(silent.float() + tried * mean)
        # A factor from the lower right: H = R R^T with R upper triangular, so U = R^-1.
        lower, failed = torch.linalg.cholesky_ex(damped.flip(0, 1))
        if not failed and bool(lower.isfinite().all()):
            if tried != damping:
                warnings.warn(
                    f"{where}: Hessian not positive definite with damping {damping:g}, "
                    f"raised to {tried:g}",
                    AtlasWarning,
                    stacklevel=2,
                )
            identity = torch.eye(len(damped), device=damped.device)
            upper: Tensor = torch.linalg.solve_triangular(lower.flip(0, 1), identity, upper=True)
            return upper
    raise NumericsError(
        f"{where}: the Hessian cannot be factorised even with damping {dampings[-1]:g}; "
        "check the calibration data, or use more of it"
    )
