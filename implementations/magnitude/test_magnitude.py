"""Magnitude: masks by hand, comparison groups, and the real model."""

from __future__ import annotations

import copy

import pytest
import torch

from implementations.harness import BadInput, NumericsError
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.magnitude import Magnitude

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


def test_compares_weights_within_rows_on_request():
    # Row 0: 0.5 1 2 3; row 1: 0.1 0.2 6 7.
    assert removed(sparsity=0.5, compare="row") == [[0, 2, 5, 7], [0, 1, 2, 3]]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("2:4", [[0, 2, 5, 7], [2, 3, 4, 5]]),
        ("1:4", [[0, 2, 3, 4, 5, 7], [1, 2, 3, 4, 5, 6]]),  # keeps 9, 5 and 7, 13
        ("3:4", [[0, 7], [2, 4]]),
        ("4:8", [[0, 2, 5, 7], [0, 1, 2, 3]]),
        ("4:4", [[], []]),
    ],
)
def test_patterns_keep_the_largest_of_each_group(pattern, expected):
    assert removed(pattern=pattern) == expected


def test_ignores_signs():
    assert removed(-WEIGHT, sparsity=0.5) == removed(sparsity=0.5)


@pytest.mark.parametrize(
    ("sparsity", "count"),
    [(0.0, 0), (0.06, 0), (0.07, 1), (0.3, 4), (0.5, 8), (0.99, 15), (1.0, 16)],  # down, of 16
)
@pytest.mark.parametrize("ties", [False, True])
def test_the_count_is_exact(sparsity, count, ties):
    weight = torch.full_like(WEIGHT, 3.0) if ties else WEIGHT
    gone = mask(weight, Magnitude(sparsity=sparsity))
    assert int(gone.sum()) == count
    if ties:  # the earlier position goes first
        assert gone.flatten().tolist() == [True] * count + [False] * (16 - count)


def test_ties_in_half_precision_stay_exact():
    weight = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert len(weight.abs().unique()) < weight.numel() / 4
    assert int(mask(weight, Magnitude(sparsity=0.37)).sum()) == int(0.37 * 4096)


def test_no_removed_weight_is_larger_than_a_kept_one():
    weight = torch.randn(48, 40, generator=torch.Generator().manual_seed(0))
    gone = mask(weight, Magnitude(sparsity=0.7))
    assert weight[gone].abs().max() < weight[~gone].abs().min()


def test_scaling_the_matrix_changes_nothing_but_scaling_a_row_does():
    scale = torch.tensor([[100.0], [1.0]])
    assert removed(1000 * WEIGHT, sparsity=0.5) == removed(sparsity=0.5)
    assert removed(scale * WEIGHT, sparsity=0.5) == [[], list(range(8))]
    by_row = {"sparsity": 0.5, "compare": "row"}
    assert removed(scale * WEIGHT, **by_row) == removed(**by_row)


def test_survivors_keep_their_value_and_no_calibration_is_needed():
    dense = tiny_model()
    model = copy.deepcopy(dense)
    outcome = Magnitude(sparsity=0.5).apply(model)
    for (_, _, before), (_, _, after) in zip(dense.linears(), model.linears(), strict=True):
        kept = after.weight != 0
        assert int(kept.sum()) == before.weight.numel() // 2
        assert torch.equal(after.weight[kept], before.weight[kept])
    assert outcome.achieved == 0.5
    other = copy.deepcopy(dense)
    Magnitude(sparsity=0.5).apply(other, random_tokens())  # it does not look at the text
    assert all(
        torch.equal(a, b) for a, b in zip(model.hf.parameters(), other.hf.parameters(), strict=True)
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sparsity": 1.5}, "sparsity: .*less than or equal to 1"),
        ({"sparsity": -0.5}, "sparsity: .*greater than or equal to 0"),
        ({"pattern": "0:4"}, "pattern '0:4' is not KEEP:GROUP"),
        ({"pattern": "2:4", "sparsity": 0.6}, "sparsity 0.6 contradicts pattern 2:4"),
        ({"compare": "column"}, "compare: .*'matrix' or 'row'"),
    ],
)
def test_wrong_parameters_are_refused(settings, message):
    with pytest.raises(BadInput, match=message):
        Magnitude.configure(**settings)


def test_a_pattern_that_does_not_divide_is_refused():
    with pytest.raises(BadInput, match="3:7 does not divide the 32 inputs of block 0, q"):
        Magnitude(pattern="3:7").apply(tiny_model())


def test_damaged_weights_are_named():
    model = tiny_model()
    model.blocks[1].attention.o.weight.data[2, 3] = float("nan")
    with pytest.raises(NumericsError, match="block 1, o: the weights contain NaN"):
        Magnitude().apply(model)


@pytest.mark.model
def test_on_the_real_model_the_error_rises_with_sparsity(first_blocks):
    model = first_blocks.pruned("magnitude", sparsity=0.5)
    for block, role, linear in model.linears():
        weight = first_blocks.dense.blocks[block.index].linears()[role].weight
        gone = linear.weight == 0
        assert int(gone.sum()) == weight.numel() // 2, f"block {block.index}, {role}"
        assert weight[gone].abs().max() <= weight[~gone].abs().min()
    assert model.hf.lm_head.weight is model.hf.get_input_embeddings().weight
    errors = [
        first_blocks.error("magnitude", **setting)
        for setting in ({"sparsity": 0.1}, {"sparsity": 0.5}, {"pattern": "2:4"}, {"sparsity": 0.7})
    ]
    assert errors == sorted(errors)
    assert errors[0] < 0.1 * errors[1]
