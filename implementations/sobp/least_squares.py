"""The two least-squares problems inside a module: the search of stage 2 and the fit of stage 3.

`eliminate` of the harness does one step of the search and updates all weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

from implementations.harness import damped_factor


def cheapest_in_turn(weight: Tensor, inverse: Tensor, units: Tensor, count: int) -> Tensor:
    """Choose `count` units one by one: each time the one that is the cheapest to remove.

    `units [units, width]` holds columns of `weight [out, in]`; `inverse [in, in]` is the inverse of
    the damped Hessian. Both are fp64 and are not changed. Returns the units in order of removal.

    The cost `e_P = trace(W_P (H^-1_PP)^-1 W_P^T)` needs only the diagonal block of each unit in the
    inverse and in `W^T W` of the corrected weights. So each step computes the columns of the unit
    that it removes from those of the units removed before (a left-looking pivoted Cholesky
    factorisation). Neither matrix is ever updated.
    """
    width, flat = units.shape[1], units.flatten().to(weight.device)
    inverse, square = inverse[flat][:, flat], weight[:, flat].T @ weight[:, flat]
    own_inverse, own_square = own_blocks(inverse, width), own_blocks(square, width)
    h = inverse.new_zeros(len(flat), count * width)  # the inverse is now  inverse - h h^T
    u = torch.zeros_like(h)  # and W^T W is now  square - u h^T - h u^T
    left, order = torch.arange(len(units), device=weight.device), []
    for done in range(0, count * width, width):
        place = removal_costs(own_inverse[left], own_square[left]).argmin()
        order.append(left[place])
        left = torch.cat([left[:place], left[place + 1 :]])
        unit = slice(int(order[-1]) * width, (int(order[-1]) + 1) * width)
        before, now = slice(0, done), slice(done, done + width)
        mine_h, mine_u = h[unit, before].T, u[unit, before].T  # [removed, width]
        column = inverse[:, unit] - h[:, before] @ mine_h
        other = square[:, unit] - u[:, before] @ mine_h - h[:, before] @ mine_u
        lower = torch.linalg.cholesky(column[unit])  # H^-1_PP = L L^T
        half, error = (
            torch.linalg.solve_triangular(lower, each.T, upper=False).T for each in (column, other)
        )  # H^-1_:P L^-T, and W^T E with E = W_P L^-T
        both = torch.linalg.solve_triangular(lower, error[unit], upper=False)  # E^T E
        h[:, now], u[:, now] = half, error - half @ both / 2
        half, error = (each[:, now].unflatten(0, (-1, width)) for each in (h, u))
        own_inverse -= half @ half.mT
        own_square -= error @ half.mT + half @ error.mT
    return torch.stack(order)


def removal_costs(own_inverse: Tensor, own_square: Tensor) -> Tensor:
    """Return `e_P` of each unit, `[units]`, from its blocks of `H^-1` and `W^T W`."""
    if own_inverse.shape[-1] == 1:
        return (own_square / own_inverse).flatten()
    products: Tensor = torch.linalg.solve(own_inverse, own_square)
    return products.diagonal(dim1=-2, dim2=-1).sum(dim=-1)


def own_blocks(matrix: Tensor, width: int) -> Tensor:
    """Copy the blocks on the diagonal of a square matrix, `[blocks, width, width]`."""
    blocks: Tensor = matrix.unflatten(1, (-1, width)).unflatten(
        0, (-1, width)
    )  # [n, width, n, width]
    return blocks.diagonal(dim1=0, dim2=2).movedim(-1, 0).clone()


def refit_to(
    weight: Tensor, gram: Tensor, products: Tensor, damping: float, where: str = "layer"
) -> Tensor:
    """Fit a layer to given outputs: `argmin ||V X - Y||^2 + lambda ||V - W||^2`.

    `weight [out, in]` is `W`, `gram [in, in]` is `X X^T` and `products [out, in]` is `Y X^T`.
    `lambda` is the damping times the mean of the diagonal of `gram`. The result is
    `(Y X^T + lambda W) (X X^T + lambda I)^-1`, fp64 `[out, in]`.
    """
    gram = gram.double()
    damped, lower = damped_factor(gram, damping, where)
    target = products.double() + weight.to(gram.device).double() @ (damped - gram)  # [out, in]
    return torch.cholesky_solve(target.T, lower).T
