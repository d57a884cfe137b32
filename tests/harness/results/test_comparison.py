"""Comparisons of recorded values with repeated ones."""

from __future__ import annotations

import math
from typing import Any

import pytest

from implementations.harness.runs.record_checks import (
    COUNTS,
    EXACT,
    SENSITIVE,
    Bounds,
    Comparison,
    describe_difference,
    describe_differences,
    relative_difference,
)


@pytest.mark.parametrize(
    ("recorded", "again", "difference"),
    [
        (10.0, 10.0, 0.0),
        (10.0, 11.0, 0.1),
        (10, 9.0, 0.1),
        (0.0, 0.25, 0.25),
        (-10.0, 10.0, 2.0),
        (5e-324, 1.7e308, math.inf),
        (2**63 - 1, 0, 1.0),
        ([1.0, 10.0], [1.0, 11.0], 0.1),
        ({"a": [{"b": 4.0}]}, {"a": [{"b": 5.0}]}, 0.25),
        ([1.0], [1.0, 1.0], math.inf),
        ({"a": 1.0}, {"b": 1.0}, math.inf),
        (None, 1.0, math.inf),
        (1.0, None, math.inf),
        (True, 1, math.inf),
        ("a", "a", 0.0),
        ("a", "b", math.inf),
        ([], {}, math.inf),
    ],
)
def test_difference_is_the_largest_relative_one_of_any_number(
    recorded: Any, again: Any, difference: float
):
    assert relative_difference(recorded, again) == pytest.approx(difference)


@pytest.mark.parametrize(
    ("again", "bounds", "grade"),
    [
        (100.0, EXACT, "narrow"),
        (100.001, EXACT, "off"),
        (100.001, SENSITIVE, "narrow"),
        (200.0, SENSITIVE, "wide"),
        (None, SENSITIVE, "wide"),
        (100.5, COUNTS, "wide"),
        (102.0, COUNTS, "off"),
        (101.0, Bounds(1e-4, 1e-2), "wide"),
        (None, Bounds(1e-4, 1e-2), "off"),
    ],
)
def test_grade_is_the_narrowest_bound_that_holds(again: Any, bounds: Bounds, grade: str):
    assert Comparison("x", 100.0, again, bounds).grade == grade


def test_difference_is_described_on_one_short_printable_line():
    assert describe_difference("cpu", "one", "two") == 'cpu: "one" in the record, "two" now'
    lines = describe_differences({"a": 1, "b": 2}, {"b": 2, "c": None})
    assert list(lines) == ["a: 1 in the record, null now"]
    line = describe_difference("sample", "x" * 500 + "\x1b[31m\n\x9b1m", "x" * 500 + "yes")
    assert line.isprintable()
    assert "yes" in line
    assert len(line) < 250
