"""Evaluation of candidates and random search."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from implementations.harness import (
    Candidates,
    NumericsError,
    masked,
    perplexity,
    random_search,
)
from implementations.harness.contract.tiny import random_tokens, tiny_model


def bits(text: str) -> Tensor:
    return torch.tensor([bit == "1" for bit in text])


class Counting(Candidates):
    """Candidates whose loss is 10 per bit minus the first index, with a count of measurements."""

    def __init__(self, model):
        self.asked = []
        super().__init__(model, self.measure, "blocks")

    def __call__(self, removed: Tensor) -> float:
        self.removed = removed
        return super().__call__(removed)

    def measure(self) -> float:
        self.asked.append(self.removed.tolist())
        if bool(self.removed.all()):
            raise NumericsError("not finite")
        return 10.0 * int(self.removed.sum()) - int(self.removed.int().argmax())


@pytest.fixture
def counting() -> Counting:
    return Counting(tiny_model(blocks=4))


def test_loss_is_that_of_the_masked_model():
    model, tokens, removed = tiny_model(blocks=3), random_tokens(), bits("010")
    loss = Candidates(model, lambda: perplexity(model, tokens).value, "blocks")
    with masked(model, removed, "blocks"):
        expected = perplexity(model, tokens).value
    assert loss(removed) == expected != loss(bits("000")) == perplexity(model, tokens).value


def test_measures_each_mask_once_and_remembers_the_best(counting: Counting):
    assert counting.best is None
    for text, loss in (("1000", 10), ("0011", 18), ("1000", 10), ("0001", 7), ("0011", 18)):
        assert counting(bits(text)) == loss
    assert counting.evaluations == len(counting.asked) == 3
    assert counting.least == 7
    assert counting.best.tolist() == bits("0001").tolist()


def test_best_is_a_copy_of_the_first_among_equals(counting: Counting):
    removed = bits("1100")  # 20, as any two bits with the first
    counting(removed)
    counting(bits("1010"))
    removed[:] = True
    assert counting.best.tolist() == bits("1100").tolist()


def test_loss_that_is_not_finite_becomes_infinity(counting: Counting):
    assert counting(bits("1111")) == math.inf
    assert counting.best.all()  # better than none
    assert counting.evaluations == 1
    assert counting(bits("1100")) == 20
    assert counting.best.tolist() == bits("1100").tolist()


def test_random_search_evaluates_the_given_number_of_masks(counting: Counting):
    torch.manual_seed(0)
    random_search(counting, lambda: torch.rand(4) < 0.5, 7)
    assert counting.evaluations == len(counting.asked) == 7
    assert counting.least == min(counting.seen.values())
    counting(counting.best)
    random_search(counting, lambda: torch.rand(4) < 0.5, 2)
    assert counting.evaluations == 9


def test_random_search_stops_without_new_masks(counting: Counting):
    draws = []

    def draw() -> Tensor:
        draws.append(1)
        return bits("1000")

    random_search(counting, draw, 5)
    assert counting.evaluations == 1
    assert 5 <= len(draws) <= 200
