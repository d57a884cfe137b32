"""Seeding decides what is drawn inside and changes nothing outside."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from implementations.harness.data.seeds import seeded


def drawn() -> tuple[float, float, float]:
    """Draw from the global generators of Python, NumPy and torch."""
    return random.random(), float(np.random.rand()), float(torch.rand(()))


@pytest.fixture(autouse=True)
def _known() -> Iterator[None]:
    """Start each test from known generators, and go on afterwards as before."""
    with seeded(99):
        yield


def inside(seed: int, **other: int) -> tuple[float, float, float]:
    with seeded(seed, **other):
        return drawn()


def test_the_seed_decides_what_each_generator_draws():
    first = inside(1)
    drawn()
    assert inside(1) == first
    assert not set(first) & set(inside(2))


def test_python_may_have_a_seed_of_its_own():
    ours, numpys, torchs = inside(1, python=0)
    assert (numpys, torchs) == inside(1)[1:]
    assert ours == random.Random(0).random() != inside(1)[0]


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_generators_go_on_as_if_nothing_had_been(error):
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


def test_seeds_may_be_large():
    assert inside(2**40) == inside(2**40)
    assert inside(2**32 + 1)[0] != inside(1)[0]
