"""Learning rates over time, and invalid plans."""

from __future__ import annotations

import math

import pytest

from implementations.harness.errors import BadInput
from implementations.harness.train.schedule import Plan


def rates(**settings) -> list[float]:
    plan = Plan(**({"steps": 10, "rate": 1.0} | settings))
    return [plan.factor(step) for step in range(plan.steps)]


def test_cosine_decay():
    expected = [(1 + math.cos(math.pi * step / 10)) / 2 for step in range(10)]
    assert rates() == pytest.approx(expected)
    assert rates(end=0.1) == pytest.approx([0.1 + 0.9 * each for each in expected])


def test_decay_starts_after_warmup():
    assert rates(warmup=0.2, decay="linear") == pytest.approx(
        [0.5, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]
    )
    assert rates(warmup=0.25, decay="none") == pytest.approx([1 / 3, 2 / 3] + [1] * 8)
    assert rates(warmup=1, decay="none")[-1] == 1


def test_rate_can_stay_constant_before_the_decay():
    assert rates(warmup=0.2, decay="linear", decay_share=0.4, end=0.5) == pytest.approx(
        [0.5, 1, 1, 1, 1, 1, 1, 7 / 8, 6 / 8, 5 / 8]
    )
    assert rates(warmup=0.2, decay="linear", decay_share=0.8) == rates(warmup=0.2, decay="linear")
    assert rates(warmup=0.2, decay="linear", decay_share=0) == rates(warmup=0.2, decay="none")


@pytest.mark.parametrize("decay", ["cosine", "linear", "none"])
def test_consecutive_plans_share_one_schedule(decay):
    shared = {"warmup": 0.3, "decay": decay, "decay_share": 0.5, "end": 0.1}
    parts = []
    for before, steps in ((0, 2), (2, 1), (3, 7)):
        parts += rates(steps=steps, before=before, total=10, **shared)
    assert parts == rates(**shared)
    assert rates(steps=4, before=6, **shared) == rates(**shared)[6:]


@pytest.mark.parametrize("decay", ["cosine", "linear", "none"])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_rate_of_every_step_is_positive(decay, steps):
    for warmup in (0, 0.1, 0.5, 1):
        assert all(0 < rate <= 1 for rate in rates(steps=steps, warmup=warmup, decay=decay))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"steps": 0}, "`steps` must be at least 1, got 0"),
        ({"batch": 0}, "`batch` must be at least 1, got 0"),
        ({"batch": 4, "at_once": 3}, "`batch` must be a multiple of `at_once`, got 4 and 3"),
        ({"rate": 0.0}, "positive learning rate, got 0"),
        ({"rate": math.nan}, "positive learning rate, got nan"),
        ({"warmup": 1.5}, "`warmup` must be between 0 and 1, got 1.5"),
        ({"end": -1}, "`end` must be between 0 and 1, got -1"),
        ({"decay_share": 1.1}, "`decay_share` must be between 0 and 1, got 1.1"),
        ({"before": -1}, "`before` must not be negative"),
        ({"before": 1, "total": 10}, "`total` must be at least .*got 10 for 1 \\+ 10"),
    ],
)
def test_refuses_invalid_values(settings, named):
    with pytest.raises(BadInput, match=named):
        Plan(**({"steps": 10, "rate": 1.0} | settings))
