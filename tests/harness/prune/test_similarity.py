"""Cosine distance and angle: closed forms and precision for small angles."""

import math

import pytest
import torch

from implementations.harness import angle, cosine_distance

X = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
Y = torch.tensor([[5.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [1.0, 1.0]])


def test_examples():
    assert cosine_distance(X, Y).tolist() == pytest.approx([0, 1, 2, 1 - math.sqrt(0.5)])
    assert angle(X, Y).tolist() == pytest.approx([0, 0.5, 1, 0.25])


def test_equal_directions_have_distance_zero():
    x = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    assert (cosine_distance(x, x) == 0).all()
    assert (angle(x, x) == 0).all()
    assert (angle(x, -x) == 1).all()


def test_small_angles_are_precise():
    # The cosine of 1e-9 rounds to 1.
    x = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    y = torch.tensor([[1.0, 1e-9]], dtype=torch.float64)
    assert cosine_distance(x, y).item() == pytest.approx(5e-19, rel=1e-9)
    assert angle(x, y).item() == pytest.approx(1e-9 / math.pi, rel=1e-9)


def test_a_token_that_is_zero_counts_as_a_right_angle():
    assert angle(torch.zeros(1, 3), torch.ones(1, 3)).item() == pytest.approx(0.5)
    assert angle(torch.zeros(1, 3), torch.zeros(1, 3)).item() == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_computes_half_precision_in_fp64(dtype):
    x, y = X.to(dtype) * 1000, Y.to(dtype) * 1000  # a square of it is no fp16 number
    assert cosine_distance(x, y).tolist() == pytest.approx([0, 1, 2, 1 - math.sqrt(0.5)], abs=1e-4)
    assert angle(x, y).tolist() == pytest.approx([0, 0.5, 1, 0.25])
