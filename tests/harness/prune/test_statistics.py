"""Statistics compared with two-pass fp64 computation, for any batches and dtype."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from implementations.harness.prune.statistics import (
    ColumnNorm,
    ColumnSum,
    Gram,
    Moments,
    SampleNorm,
)

TOKENS, FEATURES = 97, 6
STATISTICS = (Gram, ColumnNorm, ColumnSum, Moments)


def activations(seed: int = 0) -> Tensor:
    """Return tokens [tokens, features] whose features differ in size, mean and correlation."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(FEATURES, FEATURES, generator=generator)
    x = torch.randn(TOKENS, FEATURES, generator=generator) @ mix
    return x * torch.logspace(-2, 2, FEATURES) + torch.arange(FEATURES)


def fed(statistic, *batches: Tensor):
    """Return the statistic of some batches."""
    accumulator = statistic(batches[0].shape[-1])
    for batch in batches:
        accumulator.update(batch)
    return accumulator


def values(accumulator) -> list[Tensor]:
    """Return the results of a statistic, in fp64."""
    names = {
        Gram: ["matrix"],
        ColumnNorm: ["norms"],
        ColumnSum: ["sums"],
        Moments: ["mean", "variance"],
    }
    return [getattr(accumulator, name).double() for name in names[type(accumulator)]]


def test_examples():
    # Features (1, 2, 3) and (0, 4, -4): sums of squares 14 and 32, product 2 * 4 - 3 * 4 = -4.
    x = torch.tensor([[1.0, 0.0], [2.0, 4.0], [3.0, -4.0]])
    assert fed(Gram, x).matrix.tolist() == [[14, -4], [-4, 32]]
    assert fed(ColumnNorm, x).norms.tolist() == pytest.approx([math.sqrt(14), math.sqrt(32)])
    moments = fed(Moments, x)
    assert moments.mean.tolist() == [2, 0]
    assert moments.variance.tolist() == [1, 16]  # 2 / 2 and 32 / 2: unbiased
    assert moments.count == fed(Gram, x).count == fed(ColumnNorm, x).count == 3


def test_equals_two_pass_fp64():
    x = activations()
    d = x.double()
    close = {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(fed(Gram, x).matrix.double(), d.T @ d, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(fed(ColumnNorm, x).norms.double(), d.norm(dim=0), **close)
    torch.testing.assert_close(fed(ColumnSum, x).sums.double(), d.abs().sum(dim=0), **close)
    moments = fed(Moments, x)
    torch.testing.assert_close(moments.mean, d.mean(dim=0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(moments.variance, d.var(dim=0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("statistic", STATISTICS)
@given(cuts=st.lists(st.integers(1, TOKENS - 1), max_size=8, unique=True))
def test_batch_sizes_do_not_matter(statistic, cuts: list[int]):
    x = activations()
    split = fed(statistic, *x.tensor_split(sorted(cuts)))
    whole = fed(statistic, x)
    assert split.count == whole.count == TOKENS
    for one, other in zip(values(split), values(whole), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6 * float(other.abs().max()))


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_widens_half_precision_before_summing(statistic, dtype: torch.dtype):
    x = activations().to(dtype)
    half = fed(statistic, *x.split(10))
    wide = fed(statistic, *x.float().split(10))
    for one, other in zip(values(half), values(wide), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_a_small_spread_around_a_large_mean(batch: int):
    # E[x^2] - E[x]^2 in fp32 would have no correct digit: 1e10 against a variance of 1e-2.
    generator = torch.Generator().manual_seed(0)
    x = 1e5 + 0.1 * torch.randn(1000, 3, generator=generator, dtype=torch.float64)
    moments = fed(Moments, *x.split(batch))
    torch.testing.assert_close(moments.mean, x.mean(dim=0), rtol=1e-13, atol=0)
    torch.testing.assert_close(moments.variance, x.var(dim=0), rtol=1e-8, atol=0)


def test_constant_features_have_no_variance():
    moments = fed(Moments, *torch.full((50, 2), 0.1).split(7))
    assert (moments.variance.abs() < 1e-30).all()


def test_a_single_token_has_no_variance():
    moments = fed(Moments, torch.tensor([[3.0, -4.0]]))
    assert moments.mean.tolist() == [3, -4]
    assert moments.variance.tolist() == [0, 0]


@pytest.mark.parametrize("statistic", STATISTICS)
def test_silent_feature_is_exactly_zero(statistic):
    x = activations()
    x[:, 2] = 0  # what marks a dead input
    for value in values(fed(statistic, *x.split(5))):
        assert (value[2] == 0).all()


@pytest.mark.parametrize("statistic", STATISTICS)
def test_samples_equal_their_tokens(statistic):
    x = activations()[:96]
    for one, other in zip(
        values(fed(statistic, x.view(4, 24, -1))), values(fed(statistic, x)), strict=True
    ):
        assert torch.equal(one, other)


def test_sample_norms_are_averaged_and_not_pooled():
    # One feature is (3, 4) and (0, 0), the other (2, 2) twice; pooled, the first is larger.
    x = torch.tensor([[[3.0, 2.0], [4.0, 2.0]], [[0.0, 2.0], [0.0, 2.0]]])  # [samples, tokens, 2]
    norms = fed(SampleNorm, x).norms.tolist()
    assert norms == pytest.approx([2.5, math.sqrt(8)])
    assert fed(SampleNorm, *x.split(1)).norms.tolist() == pytest.approx(norms)
    assert fed(ColumnNorm, x).norms.tolist() == pytest.approx([5, 4])


def test_sample_norm_detects_values_that_are_not_finite():
    x = torch.ones(2, 3, 2)
    assert fed(SampleNorm, x).finite()
    x[1, 2, 0] = float("nan")
    assert not fed(SampleNorm, x).finite()


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_detects_values_that_are_not_finite(statistic, value: float):
    x = activations()
    assert fed(statistic, *x.split(20)).finite()
    x[50, 3] = value
    assert not fed(statistic, *x.split(20)).finite()


@pytest.mark.parametrize("statistic", [Gram, ColumnNorm])
def test_detects_overflow(statistic):
    assert not fed(statistic, torch.full((1, 2), 1e20)).finite()  # its square, 1e40, is no fp32


@pytest.mark.parametrize("statistic", [ColumnNorm, ColumnSum])
def test_sums_do_not_depend_on_the_order_of_the_tokens(statistic):
    x = activations()
    shuffled = x[torch.randperm(TOKENS, generator=torch.Generator().manual_seed(1))]
    assert torch.equal(fed(statistic, x).sums, fed(statistic, shuffled).sums)
    assert not torch.equal(x.square().sum(dim=0), shuffled.square().sum(dim=0))  # in fp32
