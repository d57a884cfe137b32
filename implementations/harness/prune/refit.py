"""Least squares on what calibration saw of a layer's inputs: factors of damped Gram matrices.

Damping is added to the whole diagonal, as a fraction of its mean, so that a fit is drawn to the
weights that were there and not to zero: where nothing is removed nothing changes. Inputs that are
always zero get a 1 there instead. A factorisation that fails is tried again with the dampings of
`RAISED`, told by an `AtlasWarning`; `NumericsError` follows after the last.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from implementations.harness.errors import AtlasWarning, NumericsError
from implementations.harness.model.surgery import keep_units
from implementations.harness.model.units import Kind, cuts
from implementations.harness.model.view import Block

RAISED = (0.01, 0.1, 1.0)  # dampings tried in turn when the one asked for is not enough


def inverse_factor(hessian: Tensor, damping: float, where: str = "layer") -> Tensor:
    """Return the upper triangular `U` with `(H + damping * mean(diag H) * I)^-1 = U^T U`, fp32.

    `U_jj^2` is the first diagonal entry of the inverse of `H_j:,j:` and `U_jj * U_j,j:` its first
    row: all that Eq. 3-5 of SparseGPT need of every partial inverse.
    """
    # A factor from the lower right: H = R R^T with R upper triangular, so U = R^-1.
    _, lower = damped_factor(hessian.float(), damping, where, lambda damped: damped.flip(0, 1))
    identity = torch.eye(len(lower), device=lower.device)
    upper: Tensor = torch.linalg.solve_triangular(lower.flip(0, 1), identity, upper=True)
    return upper


def damped_inverse(hessian: Tensor, damping: float, where: str = "layer") -> Tensor:
    """Return `(H + damping * mean(diag H) * I)^-1`, fp64 `[in, in]`, for `eliminate`."""
    _, lower = damped_factor(hessian.double(), damping, where)
    return torch.cholesky_inverse(lower)


def refit(
    weight: Tensor, gram: Tensor, keep: Tensor, damping: float, where: str = "layer"
) -> Tensor:
    """Fit the kept input columns of a layer to the outputs of all, `argmin ||V X_K - W X||^2`.

    `weight [out, in]`, `gram [in, in]` is `X X^T`, `keep` a boolean mask `[in]` or numbers. The
    result is `W G_:,K (G_K,K)^-1`, fp64 `[out, kept]`, of the damped Gram matrix.
    """
    kept = keep.nonzero().flatten() if keep.dtype == torch.bool else keep
    kept = kept.to(gram.device)
    damped, lower = damped_factor(
        gram.double(), damping, where, lambda damped: damped[kept][:, kept]
    )
    target = weight.to(gram.device).double() @ damped[:, kept]  # [out, kept]
    return torch.cholesky_solve(target.T, lower).T


def keep_refitted(block: Block, kind: Kind, keep: Tensor, gram: Tensor, damping: float) -> None:
    """Remove the units of one kind inside a block but `keep`, and refit the layer they enter.

    `keep` is boolean, `[units]`; `gram [in, in]` is that of the inputs of `o` (of `down` for
    channels) with all units, and `damping` as in `refit`.
    """
    entered = next(part for part in cuts(block, kind) if part.dim == 1)
    linear = entered.linear
    role = next(role for role, other in block.linears().items() if other is linear)
    stay = torch.ones(len(gram), dtype=torch.bool)
    stay[entered.places[~keep.cpu()].flatten()] = False
    fitted = refit(linear.weight, gram, stay, damping, f"block {block.index}, {role}")
    keep_units(block, kind, keep)
    linear.weight.data.copy_(fitted)


def eliminate(weight: Tensor, inverse: Tensor, columns: Tensor) -> None:
    """Remove input columns of a layer and correct all others for it, in place.

    `weight [out, in]` and `inverse [in, in]`, that of the damped Gram matrix over the columns still
    there, are fp64; `columns` holds numbers of such. Afterwards the columns are exactly zero, as
    are their rows and columns of `inverse`, which is that of the columns left. The step of Optimal
    Brain Surgeon for several weights at once (Hassibi & Stork, 1993):
    `W - W_P (H^-1_PP)^-1 H^-1_P`.
    """
    rows = inverse[columns]  # [removed, in]
    lower = torch.linalg.cholesky(rows[:, columns])
    # With H^-1_PP = L L^T both updates are one product of what L^-1 leaves of either side.
    half = torch.linalg.solve_triangular(lower, rows, upper=False)  # [removed, in]
    errors = torch.linalg.solve_triangular(lower, weight[:, columns].T, upper=False)
    weight.addmm_(errors.T, half, alpha=-1)
    inverse.addmm_(half.T, half, alpha=-1)
    weight[:, columns] = 0
    inverse[columns] = 0
    inverse[:, columns] = 0


def damped_factor(
    hessian: Tensor,
    damping: float,
    where: str,
    part: Callable[[Tensor], Tensor] = lambda damped: damped,
) -> tuple[Tensor, Tensor]:
    """Return the damped matrix and the lower triangular Cholesky factor of a part of it.

    `damping` is a fraction of the mean diagonal; `where` names the layer in the warning that
    follows when it has to be raised. Raises `NumericsError` when no damping is enough.
    """
    diagonal = hessian.diagonal()
    silent, mean = (diagonal == 0).to(hessian.dtype), diagonal.mean()
    dampings = (damping, *(more for more in RAISED if more > damping))
    for tried in dampings:
        damped = hessian + torch.diag(silent + tried * mean)
        lower, failed = torch.linalg.cholesky_ex(part(damped))
        if not failed and bool(lower.isfinite().all()):
            if tried != damping:
                warnings.warn(
                    f"{where}: Hessian not positive definite with damping {damping:g}, "
                    f"raised to {tried:g}",
                    AtlasWarning,
                    stacklevel=3,
                )
            return damped, lower
    raise NumericsError(
        f"{where}: the Hessian cannot be factorised even with damping {dampings[-1]:g}; "
        "check the calibration data, or use more of it"
    )
