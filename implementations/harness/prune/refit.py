"""Least squares on a layer's calibration inputs, with factors of damped Gram matrices.

Damping adds a fraction of the mean diagonal to the whole diagonal. Fits are regularised towards the
original weights and not towards zero, so removing nothing changes nothing. Inputs that are always
zero get a 1 on the diagonal. If a factorisation fails, the dampings of `RAISED` are tried with an
`AtlasWarning`; if the last one fails, `NumericsError` is raised.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from implementations.harness.errors import AtlasWarning, NumericsError
from implementations.harness.model.surgery import keep_units
from implementations.harness.model.units import Kind, cuts
from implementations.harness.model.view import Block

RAISED = (0.01, 0.1, 1.0)  # dampings tried in turn if the requested one is not enough


def inverse_factor(hessian: Tensor, damping: float, where: str = "layer") -> Tensor:
    """Return the upper triangular `U` with `(H + damping * mean(diag H) * I)^-1 = U^T U`, fp32.

    `U_jj^2` is the first diagonal entry of the inverse of `H_j:,j:` and `U_jj * U_j,j:` its first
    row, which are the parts of the partial inverses that Eq. 3-5 of SparseGPT need.
    """
    hessian = hessian.float()
    # H = R R^T with R upper triangular (factored from the lower right), so U = R^-1. Besides H, two
    # matrices of its size are in memory at a time.
    for tried, shift in _shifts(hessian, damping):
        flipped = hessian.flip(0, 1)
        flipped.diagonal().add_(shift.flip(0))
        lower = _cholesky(flipped)
        del flipped
        if lower is not None:
            _report_raised(where, damping, tried)
            upper = lower.flip(0, 1)
            del lower
            # Solved in place, which needs columns that are contiguous.
            inverse = torch.eye(len(upper), device=upper.device).mT
            torch.linalg.solve_triangular(upper, inverse, upper=True, out=inverse)
            return inverse
    raise _not_factored(where, tried)


def damped_inverse(hessian: Tensor, damping: float, where: str = "layer") -> Tensor:
    """Return `(H + damping * mean(diag H) * I)^-1`, fp64 `[in, in]`, for `eliminate`."""
    _, lower = damped_factor(hessian.double(), damping, where)
    return torch.cholesky_inverse(lower)


def refit(
    weight: Tensor, gram: Tensor, keep: Tensor, damping: float, where: str = "layer"
) -> Tensor:
    """Fit the kept input columns of a layer to the outputs of all, `argmin ||V X_K - W X||^2`.

    `weight` is `[out, in]`, `gram [in, in]` is `X X^T`, and `keep` is a boolean mask `[in]` or
    indices. Returns `W G_:,K (G_K,K)^-1` of the damped Gram matrix, fp64 `[out, kept]`.
    """
    kept = keep.nonzero().flatten() if keep.dtype == torch.bool else keep
    kept = kept.to(gram.device)
    damped, lower = damped_factor(
        gram.double(), damping, where, lambda damped: damped[kept][:, kept]
    )
    target = weight.to(gram.device).double() @ damped[:, kept]  # [out, kept]
    return torch.cholesky_solve(target.T, lower).T


def keep_refitted(block: Block, kind: Kind, keep: Tensor, gram: Tensor, damping: float) -> None:
    """Remove all units of one kind from a block except `keep`, and refit the layer that reads them.

    `keep` is boolean, `[units]`. `gram [in, in]` is the Gram matrix of the inputs of `o` (for
    channels, of `down`) with all units, and `damping` is as in `refit`.
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
    """Remove input columns of a layer and correct the others, in place.

    `weight [out, in]` and `inverse [in, in]` are fp64; `inverse` is that of the damped Gram matrix
    of the remaining columns, and `columns` has the indices of some of these. Afterwards the columns
    are exactly zero, and `inverse` is updated, with zeros in their rows and columns. This is the
    step of Optimal Brain Surgeon for several weights (Hassibi & Stork, 1993): `W - W_P (H^-1_PP)^-1
    H^-1_P`.
    """
    rows = inverse[columns]  # [removed, in]
    lower = torch.linalg.cholesky(rows[:, columns])
    # With H^-1_PP = L L^T, both updates are products of factors with L^-1 applied.
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

    `damping` is a fraction of the mean diagonal. If it must be raised, a warning names the layer
    `where`. Raises `NumericsError` if no damping is enough.
    """
    for tried, shift in _shifts(hessian, damping):
        damped = hessian.clone()
        damped.diagonal().add_(shift)
        lower = _cholesky(part(damped))
        if lower is not None:
            _report_raised(where, damping, tried)
            return damped, lower
    raise _not_factored(where, tried)


def _shifts(hessian: Tensor, damping: float) -> Iterator[tuple[float, Tensor]]:
    """Yield the dampings to try, each with what it adds to the diagonal, `[in]`."""
    diagonal = hessian.diagonal()
    silent, mean = (diagonal == 0).to(hessian.dtype), diagonal.mean()
    for tried in (damping, *(more for more in RAISED if more > damping)):
        yield tried, silent + tried * mean


def _cholesky(matrix: Tensor) -> Tensor | None:
    """Return the lower triangular factor, or None if the matrix is not positive definite."""
    lower, failed = torch.linalg.cholesky_ex(matrix)
    finite = lower.diagonal().isfinite().all()  # NaN anywhere in a row makes its diagonal NaN
    return lower if not failed and bool(finite) else None


def _report_raised(where: str, damping: float, tried: float) -> None:
    if tried != damping:
        warnings.warn(
            f"{where}: Hessian not positive definite with damping {damping:g}, raised to {tried:g}",
            AtlasWarning,
            stacklevel=4,
        )


def _not_factored(where: str, tried: float) -> NumericsError:
    return NumericsError(
        f"{where}: the Hessian cannot be factorised even with damping {tried:g}; "
        "check the calibration set, or use a larger one"
    )
