"""Methods prune models that have lost an attention or a feed-forward part before."""

from __future__ import annotations

import pytest
import torch

from implementations.harness import get_method, keep_channels, keep_kv_groups, methods
from implementations.harness.contract.helpers import apply, logits
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.model.units import count_weights

UNITS = [
    slug
    for slug in methods()
    if {"kv-groups", "sublayers"} & set(get_method(slug).capabilities.granularity)
    and slug != "maskprune"
]  # maskprune refuses blocks of different widths

WEIGHTS = [
    slug
    for slug in methods()
    if "unstructured" in get_method(slug).capabilities.granularity and slug != "alphapruning"
]  # alphapruning refuses layers without eigenvalues

ACTIVATIONS = [s for s in methods() if "activations" in get_method(s).capabilities.granularity]


@pytest.mark.parametrize("slug", UNITS)
def test_emptied_parts_stay_empty_and_the_budget_is_met(slug: str):
    model = tiny_model(blocks=4)
    keep_kv_groups(model.blocks[1].attention, [])
    keep_channels(model.blocks[2].feed_forward, [])
    left, method = count_weights(model).all, get_method(slug)
    unit = method().largest_unit(model)
    outcome = apply(method, model, sparsity=0.2)
    assert model.blocks[1].attention.kv_heads == model.blocks[2].feed_forward.channels == 0
    assert abs(0.8 * left - count_weights(model).all) <= unit / 2 + 1e-6
    assert outcome.achieved == pytest.approx(1 - count_weights(model).all / left)
    assert bool(logits(model).isfinite().all())


@pytest.mark.parametrize(
    ("attentions", "feed_forwards"), [([1], [2]), ([1], [1]), ([0, 1, 2, 3], [])]
)
@pytest.mark.parametrize("slug", WEIGHTS)
def test_methods_that_zero_weights_accept_emptied_parts(
    slug: str, attentions: list[int], feed_forwards: list[int]
):
    model = tiny_model(blocks=4)
    for i in attentions:
        keep_kv_groups(model.blocks[i].attention, [])
    for i in feed_forwards:
        keep_channels(model.blocks[i].feed_forward, [])
    apply(get_method(slug), model, sparsity=0.5)
    assert count_weights(model).nonzero < 0.8 * count_weights(model).all
    assert bool(logits(model).isfinite().all())


@pytest.mark.parametrize("slug", ACTIVATIONS)
def test_methods_that_drop_activations_accept_emptied_parts(slug: str):
    model, kind = tiny_model(blocks=4), get_method(slug)
    keep_kv_groups(model.blocks[1].attention, [])
    keep_channels(model.blocks[2].feed_forward, [])
    settings = kind.tiny_settings | {"sparsity": 0.2, "dense_prompt": False}
    method, dense, weights = kind(**settings), logits(model), count_weights(model).all
    outcome = method.apply(model, random_tokens())
    assert outcome.unused == pytest.approx(0.2 * weights, rel=0.1)
    with method.active(model):
        found = logits(model)
    assert bool(found.isfinite().all())
    assert not torch.equal(found, dense)
