"""How far a direction turns: closed forms, and the digits of small angles."""

import math

import pytest
import torch

from implementations.harness import turn

X = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
Y = torch.tensor([[5.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [1.0, 1.0]])


def test_by_hand():
    assert turn(X, Y).tolist() == pytest.approx([0, 1, 2, 1 - math.sqrt(0.5)])


def test_what_does_not_turn_is_exactly_zero():
    x = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    assert (turn(x, x) == 0).all()


def test_small_angles_keep_their_digits():
    # The cosine of 1e-9 is 1 to the last digit.
    x = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    y = torch.tensor([[1.0, 1e-9]], dtype=torch.float64)
    assert turn(x, y).item() == pytest.approx(5e-19, rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened(dtype):
    x, y = X.to(dtype) * 1000, Y.to(dtype) * 1000  # a square of it is no fp16 number
    assert turn(x, y).tolist() == pytest.approx([0, 1, 2, 1 - math.sqrt(0.5)], abs=1e-4)
