"""The linear sum assignment against all there are."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from implementations.harness import assignment


@pytest.mark.parametrize("seed", range(5))
def test_no_other_assignment_has_a_greater_sum(seed: int) -> None:
    values = torch.randn(6, 6, generator=torch.Generator().manual_seed(seed))
    rows = torch.arange(6)
    best = max(permutations(range(6)), key=lambda columns: float(values[rows, columns].sum()))
    assert assignment(values).tolist() == list(best)
