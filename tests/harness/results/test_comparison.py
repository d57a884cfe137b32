"""How far apart plain values are, and how that is said."""

from __future__ import annotations

import math
from typing import Any

import pytest

from implementations.harness.results.comparison import (
    COUNTED,
    EXACT,
    FOLLOWS,
    Comparison,
    Held,
    apart,
    differ,
    said,
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
def test_a_difference_is_the_largest_of_any_number(recorded: Any, again: Any, difference: float):
    assert apart(recorded, again) == pytest.approx(difference)


@pytest.mark.parametrize(
    ("again", "held", "grade"),
    [
        (100.0, EXACT, "narrow"),
        (100.001, EXACT, "off"),
        (100.001, FOLLOWS, "narrow"),
        (200.0, FOLLOWS, "wide"),
        (None, FOLLOWS, "wide"),
        (100.5, COUNTED, "wide"),
        (102.0, COUNTED, "off"),
        (101.0, Held(1e-4, 1e-2), "wide"),
        (None, Held(1e-4, 1e-2), "off"),
    ],
)
def test_a_grade_is_the_narrowest_that_holds(again: Any, held: Held, grade: str):
    assert Comparison("x", 100.0, again, held).grade == grade


def test_what_differs_is_said_on_a_line_that_can_be_read():
    assert said("cpu", "one", "two") == 'cpu: "one" in the record, "two" now'
    assert list(differ({"a": 1, "b": 2}, {"b": 2, "c": None})) == ["a: 1 in the record, null now"]
    line = said("sample", "x" * 500 + "\x1b[31m\n\x9b1m", "x" * 500 + "yes")
    assert line.isprintable()
    assert "yes" in line
    assert len(line) < 250
