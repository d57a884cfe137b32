"""Seeding determines the draws inside the `with` block and changes nothing outside."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from implementations.harness.model.execution import seeded


def drawn() -> tuple[float, float, float]:
    """Draw from the global generators of Python, NumPy and torch."""
    return random.random(), float(np.random.rand()), float(torch.rand(()))


@pytest.fixture(autouse=True)
def _known() -> Iterator[None]:
    """Start each test from known generators and restore them afterwards."""
    with seeded(99):
        yield


def inside(seed: int, **other: int) -> tuple[float, float, float]:
    with seeded(seed, **other):
        return drawn()


def test_seed_determines_all_generators():
    first = inside(1)
    drawn()
    assert inside(1) == first
    assert not set(first) & set(inside(2))


def test_python_generator_can_have_a_separate_seed():
    of_python, of_numpy, of_torch = inside(1, python=0)
    assert (of_numpy, of_torch) == inside(1)[1:]
    assert of_python == random.Random(0).random() != inside(1)[0]


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_generators_are_restored(error):
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    expected = [drawn(), drawn()]
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    found = [drawn()]
    try:
        with seeded(1):
            drawn()
            if error:
                raise error
    except KeyboardInterrupt:
        pass
    assert [*found, drawn()] == expected


def test_accepts_large_seeds():
    assert inside(2**40) == inside(2**40)
    assert inside(2**32 + 1)[0] != inside(1)[0]
