"""The pictures of the site: which weights go, and what a block is worth, on tiny models."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from implementations.harness import get
from implementations.harness.cli import pictures
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.measure.perplexity import perplexity
from implementations.harness.prune.masks import parse_pattern


def test_a_mask_marks_what_went_and_leaves_the_model_alone() -> None:
    model = tiny_model()
    before = [linear.weight.clone() for _, _, linear in model.linears()]
    masks = pictures.mask_of(model, get("magnitude").configure(sparsity=0.25), random_tokens())
    for mask, weight, (_, _, linear) in zip(masks, before, model.linears(), strict=True):
        assert torch.equal(linear.weight, weight)
        assert int(mask.sum()) == weight.numel() // 4
        assert weight[mask].abs().max() <= weight[~mask].abs().min()


def test_every_parameter_is_counted_once() -> None:
    model = tiny_model()
    counts = pictures.weights_of(model)
    attention = model.blocks[0].attention
    assert counts["q"] == 2 * attention.q.weight.numel()
    assert sum(counts.values()) == sum(p.numel() for p in model.hf.parameters())


def test_a_corner_is_written_row_by_row() -> None:
    mask = torch.zeros(100, 200, dtype=torch.bool)
    mask[1, 2] = mask[0, 150] = True
    rows = pictures.corner(mask)
    assert (len(rows), {len(row) for row in rows}) == (pictures.PATCH[0], {pictures.PATCH[1]})
    assert [(i, row.index("1")) for i, row in enumerate(rows) if "1" in row] == [(1, 2)]


def test_in_common_counts_what_both_remove() -> None:
    one = [torch.tensor([[True, True, False, False]]), torch.tensor([[True, False]])]
    other = [torch.tensor([[False, True, True, False]]), torch.tensor([[True, False]])]
    assert pictures.in_common({"a": one, "b": other}) == {"a b": 2 / 3}


def test_ties_go_to_the_first_in_the_order_and_are_counted() -> None:
    model = tiny_model()
    pattern = parse_pattern("2:4")
    with torch.no_grad():
        for _, _, linear in model.linears():
            linear.weight.copy_(torch.tensor([1.0, -2, 2, 3]).repeat(linear.weight.shape[1] // 4))
        linear.weight[0, 1] = 2.5  # of the last layer one group has no tie
    count = sum(linear.weight.numel() // 4 for _, _, linear in model.linears())
    assert pictures.tied(model, pattern) == pytest.approx((count - 1) / count)
    places = torch.arange(4)
    for order, kept in ((places, [0, 0, 2, 3]), (places.flip(0), [0, -2, 0, 3])):
        pruned = pictures.by_size(model, pattern, lambda groups, o=order: o.expand_as(groups))
        assert next(pruned.linears())[2].weight[0, :4].tolist() == kept
    earlier = pictures.by_size(model, pattern, lambda groups: places.expand_as(groups))
    magnitude = copy.deepcopy(model)
    get("magnitude").configure(pattern="2:4").apply(magnitude, random_tokens())
    for (_, _, one), (_, _, other) in zip(earlier.linears(), magnitude.linears(), strict=True):
        assert torch.equal(one.weight, other.weight)
    assert next(model.linears())[2].weight[0, :4].tolist() == [1, -2, 2, 3]


def test_one_ranking_takes_from_the_matrix_of_small_weights() -> None:
    model = tiny_model()
    with torch.no_grad():
        model.blocks[1].feed_forward.up.weight.mul_(1e-6)
        model.blocks[0].attention.q.weight.mul_(1e6)
    shares = pictures.one_ranking(model, 0.5)
    assert shares[1]["up"] == 1
    assert shares[0]["q"] == 0
    counts = [linear.weight.numel() for _, _, linear in model.linears()]
    flat = [share for block in shares for share in block.values()]
    removed = sum(count * share for count, share in zip(counts, flat, strict=True))
    assert removed == pytest.approx(sum(counts) / 2, rel=1e-3)


def test_one_block_alone_is_pruned_and_put_back() -> None:
    model, text = tiny_model(blocks=3), random_tokens()
    dense = perplexity(model, text).value
    pruned = tiny_model(blocks=3)
    with torch.no_grad():
        for linear in pruned.blocks[1].linears().values():
            linear.weight.zero_()
    found = pictures.pruned_alone(model, pruned, text)
    assert found[0] == found[2] == dense
    assert found[1] == pytest.approx(pictures.left_out_alone(model, text)[1], rel=1e-6)
    assert not math.isclose(found[1], dense)
    assert perplexity(model, text).value == dense
