"""Masks by number of weights, exact for any sparsity, ties and size, and N:M patterns."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from implementations.harness.errors import BadInput, NumericsError
from implementations.harness.prune.weight_method import (
    parse_pattern,
    share_of,
    smallest,
    smallest_of_layer,
    smallest_per_group,
)

INFINITY = float("inf")
NAN = float("nan")


def chosen(scores: list[float], count: int) -> list[int]:
    """Return the positions that `smallest` marks in one row."""
    return smallest(torch.tensor(scores), count).nonzero().flatten().tolist()


def removed(scores: list[float], pattern: str) -> list[int]:
    """Return the positions that a pattern removes from one row."""
    mask = smallest_per_group(torch.tensor(scores), parse_pattern(pattern))
    return mask.nonzero().flatten().tolist()


def test_orders_negative_and_infinite_scores():
    assert chosen([INFINITY, 0.0, -INFINITY, 1.0], 1) == [2]
    assert chosen([INFINITY, INFINITY, 1.0, INFINITY], 2) == [0, 2]
    assert chosen([-INFINITY, -INFINITY, -INFINITY, 1.0], 2) == [0, 1]


def test_ties_go_to_the_earlier_position():
    assert chosen([2.0, 1.0, 2.0, 1.0, 2.0, 1.0], 2) == [1, 3]
    assert chosen([2.0, 1.0, 2.0, 1.0, 2.0, 1.0], 4) == [0, 1, 3, 5]
    assert chosen([0.0, -0.0, 0.0, -0.0], 2) == [0, 1]  # both zeros are the same score
    assert chosen([0.0] * 1000, 500) == list(range(500))  # an unstable sort shows on long rows


def test_rows_are_independent():
    scores = torch.tensor(
        [[[1.0, 2.0, 3.0], [30.0, 20.0, 10.0]], [[0.0, 0.0, 0.0], [2.0, 1.0, 2.0]]]
    )
    expected = [[[1, 1, 0], [0, 1, 1]], [[1, 1, 0], [1, 1, 0]]]
    assert smallest(scores, 2).int().tolist() == expected


def test_layer_loses_the_remainder_where_the_next_scores_are_lowest():
    scores = torch.tensor([[1.0, 9, 5], [20, 40, 80], [0, 3, 7]])
    rows, matrix = [[1, 0, 0], [1, 0, 0], [1, 1, 0]], [[1, 0, 1], [0, 0, 0], [1, 1, 0]]
    assert smallest_of_layer(scores, "row", 4).int().tolist() == rows
    assert smallest_of_layer(scores, "matrix", 4).int().tolist() == matrix


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_any_dtype_and_memory_layout(dtype: torch.dtype):
    scores = torch.randn(40, 30, generator=torch.Generator().manual_seed(0)).to(dtype)
    before = scores.clone()
    mask = smallest(scores.T, 13)
    assert mask.dtype == torch.bool
    assert torch.equal(mask, smallest(scores.T.contiguous(), 13))
    assert (mask.sum(dim=-1) == 13).all()
    assert torch.equal(scores, before)


@given(
    scores=st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=40),
    share=st.floats(0, 1),
)
def test_smallest_is_a_prefix_of_the_stable_order(scores: list[float], share: float):
    count = round(share * len(scores))
    order = sorted(range(len(scores)), key=lambda i: (scores[i], i))
    assert chosen(scores, count) == sorted(order[:count])


@pytest.mark.parametrize("count", [-1, 5])
def test_refuses_invalid_count(count: int):
    with pytest.raises(BadInput, match=f"between 0 and 4, the number of scores, got {count}"):
        smallest(torch.zeros(2, 4), count)


@pytest.mark.parametrize("count", [0, 2, 4])
def test_refuses_nan_for_any_count(count: int):
    with pytest.raises(NumericsError, match="scores contain NaN; check the weights"):
        smallest(torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, NAN, 3.0, 4.0]]), count)
    with pytest.raises(NumericsError, match="scores contain NaN"):
        smallest_per_group(torch.tensor([1.0, NAN, 3.0, 4.0]), parse_pattern("2:4"))


def test_accepts_empty_scores():
    assert smallest(torch.zeros(3, 0), 0).shape == (3, 0)
    assert smallest_per_group(torch.zeros(3, 0), parse_pattern("2:4")).shape == (3, 0)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("1:4", [0, 2, 3, 5, 6, 7]),  # keeps ONE of four: 4 and 8
        ("3:4", [0, 7]),  # and not the reverse: 1 and 5 go
        ("2:4", [0, 2, 6, 7]),
        ("4:8", [0, 1, 2, 3]),
        ("1:2", [0, 2, 5, 7]),
        ("8:8", []),
        ("1:8", [0, 1, 2, 3, 5, 6, 7]),
    ],
)
def test_pattern_examples(pattern: str, expected: list[int]):
    assert removed([1.0, 4.0, 2.0, 3.0, 8.0, 7.0, 6.0, 5.0], pattern) == expected


def test_ties_in_a_group_keep_the_later_weight():
    assert removed([1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0], "1:4") == [0, 1, 2, 4, 5, 6]


def test_refuses_group_that_does_not_divide():
    with pytest.raises(BadInput, match="pattern 2:4 needs a width divisible by 4, got 10"):
        smallest_per_group(torch.zeros(3, 10), parse_pattern("2:4"))


@pytest.mark.parametrize(
    ("sparsity", "n", "count"),
    [
        (0.0, 7, 0),
        (1.0, 7, 7),
        (0.7, 10, 7),
        (0.7, 9, 6),  # 6.3, rounded down
        (0.29, 100, 29),  # 0.29 * 100 is 28.999999999999996 in binary
        (0.57, 100, 57),
        (0.5, 5, 2),
        (0.999, 10, 9),
        (0.5, 0, 0),
    ],
)
def test_share_of_examples(sparsity: float, n: int, count: int):
    assert share_of(sparsity, n) == count


@given(percent=st.integers(0, 10_000), n=st.integers(0, 10_000_000))
def test_share_of_is_exact_for_decimal_shares(percent: int, n: int):
    assert share_of(percent / 10_000, n) == math.floor(Fraction(percent, 10_000) * n)
