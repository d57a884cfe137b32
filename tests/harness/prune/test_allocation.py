"""Budgets in weights: selected units, accuracy of the budget, and invalid input."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from implementations.harness import BadInput
from implementations.harness.prune.allocation import (
    apportion,
    between_ends,
    capped,
    carried,
    cheapest,
    standardise,
    whole_units,
    widths,
)

SHARES = st.floats(min_value=0, max_value=1, allow_nan=False)
UNITS = st.lists(
    st.tuples(st.integers(-3, 3).map(float), st.integers(1, 1000)), min_size=1, max_size=30
)


def removed(scores: list[float], costs: list[int], share: float) -> list[int]:
    """Return the indices of the units that `cheapest` removes."""
    return cheapest(torch.tensor(scores), torch.tensor(costs), share).nonzero().flatten().tolist()


def test_budget_counts_weights_not_units():
    # Half of the units would be two units; half of the weights is one large unit.
    assert removed([0.1, 0.2, 0.3, 0.4], [3, 1, 1, 1], 0.5) == [0]
    assert removed([0.4, 0.1, 0.2, 0.3], [3, 1, 1, 1], 0.5) == [1, 2, 3]


@pytest.mark.parametrize(
    ("share", "count"),
    [
        (0.0, 0),
        (0.12, 0),  # 1.2 of 10 weights: none (0) is nearer than the first unit (3)
        (0.16, 1),  # 1.6 of 10: the first unit is nearer
        (0.4, 1),  # 4 of 10: the second unit would bring 8
        (0.6, 2),  # 6 of 10: over the budget by 2 beats under it by 3
        (0.88, 2),
        (0.92, 3),
        (1.0, 3),
    ],
)
def test_chooses_the_nearest_total(share: float, count: int):
    assert len(removed([1.0, 2.0, 3.0], [3, 5, 2], share)) == count


def test_removes_fewer_units_if_two_totals_are_equally_near():
    assert removed([1.0, 2.0], [4, 4], 0.25) == []
    assert removed([1.0, 2.0], [4, 4], 0.75) == [0]


@given(units=UNITS, share=SHARES)
def test_error_of_the_budget_is_at_most_half_a_unit(units, share: float):
    scores, costs = (list(column) for column in zip(*units, strict=True))
    indices = removed(scores, costs, share)
    order = sorted(range(len(units)), key=lambda i: (scores[i], i))
    assert sorted(order[: len(indices)]) == indices  # a prefix of the ranking
    spent, budget = sum(costs[i] for i in indices), share * sum(costs)
    border = order[len(indices) - 1] if spent > budget else order[min(len(indices), len(units) - 1)]
    assert abs(spent - budget) <= costs[border] / 2 + 1e-9 * sum(costs)


def doubles(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("amounts", "total", "expected"),
    [
        ((1, 1, 2), 4, (1, 1, 2)),
        ((1, 1, 2), 8, (2.5, 2.5, 3)),  # the last is full, the others take over
        ((1, 0, 0), 5, (3, 1, 1)),  # all that asked are full: the rest by their room
        ((0, 0, 0), 3, (1, 1, 1)),
        ((1, 2, 3), 0, (0, 0, 0)),
        ((1, 2, 3), 99, (3, 3, 3)),
    ],
)
def test_scales_amounts_to_a_total_with_maxima(amounts, total, expected):
    most = doubles(3, 3, 3)
    assert capped(doubles(*amounts), total, most).tolist() == pytest.approx(list(expected))


@given(
    amounts=st.lists(st.just(0.0) | st.floats(1e-6, 10), min_size=1, max_size=12),
    most=st.lists(st.floats(0, 10), min_size=12, max_size=12),
    share=st.floats(0, 1),
)
def test_meets_every_total_up_to_the_sum_of_maxima(amounts, most, share):
    room = doubles(*most[: len(amounts)])
    total = share * float(room.sum())
    result = capped(doubles(*amounts), total, room)
    assert float(result.sum()) == pytest.approx(total, abs=1e-9)
    assert (result >= 0).all()
    assert (result <= room + 1e-12).all()


def test_carries_rounding_errors_over():
    thirds = torch.full((6,), 1 / 3, dtype=torch.float64)
    assert carried(thirds, torch.ones(6), torch.full((6,), 5)).tolist() == [0, 1, 0, 0, 1, 0]
    assert carried(doubles(5, 4), torch.tensor([4, 4]), torch.tensor([9, 9])).tolist() == [1, 1]
    assert carried(doubles(6, 0), torch.tensor([4, 4]), torch.tensor([1, 9])).tolist() == [1, 0]


def test_widths_of_two_kinds():
    # Two KV groups of 100 weights and 30 channels of 10 in each of four blocks: 2,000 weights.
    counts, costs = torch.tensor([[2] * 4, [30] * 4]), torch.tensor([[100] * 4, [10] * 4])
    even = widths(counts, costs, torch.ones(4), budget=500, least=0)
    assert even.tolist() == [[0, 1, 0, 1], [8, 7, 8, 7]]  # 200 + 300
    assert widths(counts, costs, torch.ones(4), 2000, least=1).tolist() == [[1] * 4, [29] * 4]
    one = widths(counts, costs, doubles(1, 0, 0, 0), 250, least=0)
    assert one.tolist() == [[1, 0, 0, 0], [15, 0, 0, 0]]


@given(
    groups=st.lists(st.integers(0, 4), min_size=4, max_size=4),
    channels=st.lists(st.integers(1, 40), min_size=4, max_size=4),
    shares=st.lists(st.just(0.0) | st.floats(1e-6, 1), min_size=4, max_size=4),
    share=st.floats(0, 1),
    least=st.integers(0, 1),
)
def test_widths_meet_the_budget_within_half_a_unit(groups, channels, shares, share, least):
    counts, costs = torch.tensor([groups, channels]), torch.tensor([[64] * 4, [6] * 4])
    room = ((counts - least).clamp(min=0) * costs).sum()
    budget = share * float(room)
    lost = widths(counts, costs, doubles(*shares), budget, least)
    assert (lost >= 0).all()
    assert (lost <= (counts - least).clamp(min=0)).all()
    assert abs(float((lost * costs).sum()) - budget) <= 64 / 2 + 1e-6


PARTS = st.tuples(st.just(0.0) | st.floats(0.001, 1), st.integers(1, 500))


@given(st.lists(PARTS, min_size=1, max_size=9), st.data())
def test_apportioned_counts_add_up_and_respect_sizes(parts, data) -> None:
    shares, sizes = (torch.tensor(column) for column in zip(*parts, strict=True))
    total = data.draw(st.integers(0, int(sizes.sum())))
    counts = apportion(shares, sizes, total)
    assert int(counts.sum()) == total
    assert ((counts >= 0) & (counts <= sizes)).all()


def test_apportion_gives_the_excess_of_full_parts_to_others() -> None:
    sizes = torch.tensor([10, 20, 30])
    assert apportion(torch.tensor([1.0, 1, 1]), sizes, 30).tolist() == [5, 10, 15]
    assert apportion(torch.tensor([3.0, 1, 1]), sizes, 40).tolist() == [10, 12, 18]
    assert apportion(torch.ones(4), torch.full((4,), 10), 6).tolist() == [2, 1, 2, 1]


@pytest.mark.parametrize(
    ("blocks", "first", "last", "expected"),
    [
        (32, 1 / 8, 1 / 16, range(4, 30)),
        (30, 1 / 8, 1 / 16, range(4, 28)),
        (2, 1 / 8, 1 / 16, range(2)),
        (3, 0.5, 0, range(2, 3)),
        (3, 0, 0.5, range(1)),
        (4, 0, 0, range(4)),
    ],
)
def test_between_ends_skips_first_and_last_blocks(
    blocks: int, first: float, last: float, expected: range
):
    assert between_ends(blocks, first, last).nonzero().flatten().tolist() == list(expected)


def test_between_ends_refuses_to_skip_all_blocks():
    with pytest.raises(BadInput, match=r"first=0\.5 and last=0\.5 skip all 4 blocks"):
        between_ends(4, 0.5, 0.5)


def test_standardise_example():
    # Mean 4, unbiased deviation 2.
    assert standardise(torch.tensor([2.0, 4.0, 6.0])).tolist() == [-1.0, 0.0, 1.0]


@pytest.mark.parametrize("count", [0, 1, 3, 1536])
def test_standardise_turns_equal_scores_into_zeros(count: int):
    # The mean of 0.1s is not exactly 0.1; dividing by the resulting deviation would give about 1.
    assert standardise(torch.full((count,), 0.1, dtype=torch.float64)).tolist() == [0.0] * count


def test_remainder_goes_to_blocks_with_the_lowest_relative_next_score():
    """Three KV groups in each of four blocks; 40 % of twelve are 4.8, so every block loses one.

    The fifth goes to block 2: its second unit has 0.75 of its block's mean, which is less than in
    the others, although its absolute scores are the largest.
    """
    costs = torch.full((4,), 10)
    scores = [doubles(1, 2, 3), doubles(1, 1, 1), doubles(300, 100, 300 / 4 * 2), doubles(0, 5, 5)]
    assert whole_units(torch.full((4,), 12.0), costs, scores).tolist() == [1, 1, 2, 1]
    # Where the share is a whole number of units the scores change nothing.
    assert whole_units(torch.full((4,), 20.0), costs, scores).tolist() == [2] * 4


@given(
    units=st.lists(st.lists(st.floats(0, 10), min_size=1, max_size=5), min_size=1, max_size=8),
    share=st.floats(0, 1),
)
def test_blocks_lose_at_most_their_share_rounded_up(units, share: float):
    sizes = torch.tensor([len(block) for block in units])
    wanted = sizes.double() * share
    lost = whole_units(wanted, torch.ones_like(sizes), [doubles(*block) for block in units])
    assert (lost >= (wanted - 1e-6).floor()).all()
    assert (lost <= (wanted - 1e-6).ceil().clamp(min=0)).all()
    assert abs(float(lost.sum() - wanted.sum())) <= 0.5 + 1e-6
