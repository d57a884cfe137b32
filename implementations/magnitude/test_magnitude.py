"""Magnitude: masks by hand, comparison groups, and the real model."""

from __future__ import annotations

import copy
from pkgutil import resolve_name

import pytest
import torch

from implementations.harness.contract.tiny import tiny_model
from implementations.harness.prune.weight_method import smallest
from implementations.magnitude import Magnitude
from implementations.magnitude.benchmark_ties import USED, smallest_last

WEIGHT = torch.tensor(
    [
        [1.0, -9.0, 2.0, 8.0, 4.0, -3.0, 5.0, 0.5],
        [-7.0, 6.0, 0.1, -0.2, 10.0, 11.0, -12.0, 13.0],
    ]
)


def mask(weight: torch.Tensor, method: Magnitude) -> torch.Tensor:
    """Mark what the method removes of one matrix."""
    return method.choose(weight.abs(), within=method.compare)


def removed(weight: torch.Tensor = WEIGHT, **settings) -> list[list[int]]:
    """Return the columns removed from each row."""
    return [row.nonzero().flatten().tolist() for row in mask(weight, Magnitude(**settings))]


def test_compares_weights_of_the_whole_matrix():
    # The eight smallest of sixteen: 0.1 0.2 0.5 1 2 3 4 5, of which row 0 loses six.
    assert removed(sparsity=0.5) == [[0, 2, 4, 5, 6, 7], [2, 3]]


def test_scaling_a_row_matters_only_if_rows_are_compared_with_each_other():
    larger = WEIGHT.clone()
    larger[0] *= 100
    assert removed(3 * WEIGHT, sparsity=0.5) == removed(sparsity=0.5)
    assert removed(larger, sparsity=0.5) == [[], list(range(8))]
    rows = {"sparsity": 0.5, "compare": "row"}
    assert removed(larger, **rows) == removed(**rows)


def test_compares_weights_within_rows_on_request():
    # Row 0: 0.5 1 2 3; row 1: 0.1 0.2 6 7.
    assert removed(sparsity=0.5, compare="row") == [[0, 2, 5, 7], [0, 1, 2, 3]]


def test_removes_the_smallest_weights_and_does_not_change_the_others():
    dense = tiny_model()
    model = copy.deepcopy(dense)
    outcome = Magnitude(sparsity=0.5).apply(model)
    for (_, _, before), (_, _, after) in zip(dense.linears(), model.linears(), strict=True):
        kept = after.weight != 0
        assert before.weight[~kept].abs().max() <= before.weight[kept].abs().min()
        assert int(kept.sum()) == before.weight.numel() // 2
        assert torch.equal(after.weight[kept], before.weight[kept])
    assert outcome.achieved == 0.5


@pytest.mark.model
def test_on_the_real_model_the_error_rises_with_sparsity(first_blocks):
    errors = [
        first_blocks.error("magnitude", **setting)
        for setting in ({"sparsity": 0.1}, {"sparsity": 0.5}, {"pattern": "2:4"}, {"sparsity": 0.7})
    ]
    assert errors == sorted(errors)
    assert errors[0] < 0.1 * errors[1]


def test_the_benchmark_of_ties_replaces_the_selection():
    assert smallest_last(torch.ones(1, 4), 1).tolist() == [[False, False, False, True]]
    assert all(resolve_name(name) is smallest for name in USED)
