"""Measurements behind the site's pictures, on tiny models."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from implementations.harness import get_method
from implementations.harness.cli import pictures
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.measure.perplexity import perplexity
from implementations.harness.prune.weight_method import parse_pattern


def test_mask_marks_removed_weights_and_keeps_the_model_unchanged() -> None:
    model = tiny_model()
    before = [linear.weight.clone() for _, _, linear in model.linears()]
    method = get_method("magnitude").configure(sparsity=0.25)
    masks = pictures.removed_weights(model, method, random_tokens())
    for mask, weight, (_, _, linear) in zip(masks, before, model.linears(), strict=True):
        assert torch.equal(linear.weight, weight)
        assert int(mask.sum()) == weight.numel() // 4
        assert weight[mask].abs().max() <= weight[~mask].abs().min()


def test_corner_has_one_string_per_row() -> None:
    mask = torch.zeros(100, 200, dtype=torch.bool)
    mask[1, 2] = mask[0, 150] = True
    rows = pictures.corner(mask)
    assert (len(rows), {len(row) for row in rows}) == (pictures.PATCH[0], {pictures.PATCH[1]})
    assert [(i, row.index("1")) for i, row in enumerate(rows) if "1" in row] == [(1, 2)]


def test_ties_are_counted_and_broken_by_the_given_order() -> None:
    model = tiny_model()
    pattern = parse_pattern("2:4")
    with torch.no_grad():
        for _, _, linear in model.linears():
            linear.weight.copy_(torch.tensor([1.0, -2, 2, 3]).repeat(linear.weight.shape[1] // 4))
        linear.weight[0, 1] = 2.5  # one group of the last layer has no tie
    count = sum(linear.weight.numel() // 4 for _, _, linear in model.linears())
    assert pictures.share_of_ties(model, pattern) == pytest.approx((count - 1) / count)
    indices = torch.arange(4)
    for order, kept in ((indices, [0, 0, 2, 3]), (indices.flip(0), [0, -2, 0, 3])):
        pruned = pictures.prune_by_magnitude(model, pattern, order.expand_as)
        assert next(pruned.linears())[2].weight[0, :4].tolist() == kept
    earlier = pictures.prune_by_magnitude(model, pattern, indices.expand_as)
    magnitude = copy.deepcopy(model)
    get_method("magnitude").configure(pattern="2:4").apply(magnitude, random_tokens())
    for (_, _, one), (_, _, other) in zip(earlier.linears(), magnitude.linears(), strict=True):
        assert torch.equal(one.weight, other.weight)
    assert next(model.linears())[2].weight[0, :4].tolist() == [1, -2, 2, 3]


def test_global_magnitude_removes_from_the_matrix_with_the_smallest_weights() -> None:
    model = tiny_model()
    with torch.no_grad():
        model.blocks[1].feed_forward.up.weight.mul_(1e-6)
        model.blocks[0].attention.q.weight.mul_(1e6)
    shares = pictures.global_magnitude_shares(model, 0.5)
    assert shares[1]["up"] == 1
    assert shares[0]["q"] == 0
    counts = [linear.weight.numel() for _, _, linear in model.linears()]
    flat = [share for block in shares for share in block.values()]
    removed = sum(count * share for count, share in zip(counts, flat, strict=True))
    assert removed == pytest.approx(sum(counts) / 2, rel=1e-3)


def test_each_block_is_pruned_alone_and_restored() -> None:
    model, text = tiny_model(blocks=3), random_tokens()
    dense = perplexity(model, text).value
    pruned = tiny_model(blocks=3)
    with torch.no_grad():
        for linear in pruned.blocks[1].linears().values():
            linear.weight.zero_()
    values = pictures.prune_each_block(model, pruned, text)
    assert values[0] == values[2] == dense
    assert values[1] == pytest.approx(pictures.skip_each_block(model, text)[1], rel=1e-6)
    assert not math.isclose(values[1], dense)
    assert perplexity(model, text).value == dense
