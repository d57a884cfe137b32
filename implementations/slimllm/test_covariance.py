"""Mean and covariance compared with two-pass fp64, for any batch sizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from implementations.slimllm.covariance import Covariance


def tokens(count: int = 1000) -> Tensor:
    """Return tokens [tokens, 3], fp64, that vary little around a large mean."""
    generator = torch.Generator().manual_seed(0)
    return 1e5 + 0.1 * torch.randn(count, 3, generator=generator, dtype=torch.float64)


def fed(*batches: Tensor) -> Covariance:
    seen = Covariance(batches[0].shape[-1])
    for batch in batches:
        seen.update(batch)
    return seen


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_small_covariance_around_a_large_mean(size: int):
    x = tokens()
    seen = fed(*x.split(size))
    assert seen.count == len(x)
    torch.testing.assert_close(seen.mean, x.mean(dim=0), rtol=1e-12, atol=0)
    torch.testing.assert_close(seen.matrix, x.T.cov(correction=0), rtol=1e-7, atol=1e-10)


def test_half_precision_is_widened():
    x = torch.tensor([[3000.0], [1000.0]], dtype=torch.float16)  # squares beyond fp16
    assert fed(x).matrix.item() == 1e6


def test_samples_equal_their_tokens():
    x = tokens(96)
    assert torch.equal(fed(x.view(4, 24, 3)).matrix, fed(x).matrix)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_detects_values_that_are_not_finite(value: float):
    x = tokens()
    assert fed(*x.split(20)).finite()
    x[50, 2] = value
    assert not fed(*x.split(20)).finite()
