"""The linear sum assignment, solved by SciPy."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def assignment(values: Tensor) -> Tensor:
    """Give every row of `values [n, n]` a column of its own, so that the chosen sum is greatest.

    The result is the column of each row, int64 `[n]`. Time grows as `n^3`.
    """
    _, columns = linear_sum_assignment(values.double().cpu().numpy(), maximize=True)
    return torch.as_tensor(columns, device=values.device)
