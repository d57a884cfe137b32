"""NAEE: errors of all sets against masked layers, planted experts, and both searches."""

from __future__ import annotations

import copy
import math
from itertools import combinations

import pytest
import torch

from implementations.harness import (
    BadInput,
    LanguageModel,
    NumericsError,
    masked,
    routed,
    walk,
)
from implementations.harness.contract.helpers import fingerprint, logits, same
from implementations.harness.contract.split_mixture import split
from implementations.harness.contract.tiny import MIXTURE_TYPES, random_tokens, tiny_model
from implementations.naee import NAEE
from implementations.naee.naee import Layer, all_gates, exhaustive, greedy, observed

pytestmark = pytest.mark.usefixtures("without_gradients")
every_mixture = pytest.mark.parametrize("family", list(MIXTURE_TYPES))


def losing(model, count, **settings):
    """Return the method that removes `count` experts from every block."""
    return NAEE(sparsity=NAEE().share(model, count), **settings)


def layers(model, tokens):
    """Return what NAEE observes of every block with experts of the dense model."""
    return [
        Layer(block.experts, list(observed(block, block.experts, False)))
        for block in walk(model, tokens, edits=False)
        if block.experts
    ]


def experts_outputs(model, tokens):
    """Return the inputs of every layer of experts and its outputs, `[tokens, hidden]` each."""
    seen = []
    for block in walk(model, tokens, edits=False):
        if block.experts:
            batches = list(routed(block))
            seen.append([torch.cat([getattr(b, part) for b in batches]) for part in ("x", "y")])
    return seen


def error_by_running(experts, x, target, dropped):
    """Return the error of a set by running the block's own modules with the experts masked."""
    raw = experts.router(x)[0].index_fill(1, torch.tensor(dropped), -math.inf)
    gates, chosen = experts.route(raw)
    return float((target - experts.module(x, chosen, gates)).double().norm())


@every_mixture
def test_error_of_every_set_equals_that_of_the_masked_layer(family):
    hf, tokens = tiny_model(family, blocks=2).hf.double(), random_tokens(3, 12)
    hf.set_experts_implementation("eager")  # the default has no fp64
    model = LanguageModel(hf)
    for layer, (x, z) in zip(layers(model, tokens), experts_outputs(model, tokens), strict=True):
        for dropped in combinations(range(8), 2):
            expected = error_by_running(layer.experts, x, z, dropped)
            assert layer.error(dropped) == pytest.approx(expected, rel=1e-6, abs=1e-7)


def test_exhaustive_search_finds_the_smallest_error_of_all_sets():
    model, tokens = tiny_model("mixtral"), random_tokens()
    dense = layers(copy.deepcopy(model), tokens)
    details = losing(model, 2).apply(model, tokens).details
    assert details["sets"] == 2 * 28
    for layer, dropped, error in zip(dense, details["removed"], details["errors"], strict=True):
        errors = {d: layer.error(d) for d in combinations(range(8), 2)}
        assert tuple(dropped) == min(errors, key=errors.__getitem__)
        assert error == pytest.approx(min(errors.values()))
    whole = tiny_model("mixtral")
    four = losing(whole, 4).apply(whole, tokens).details
    assert four["sets"] == 2 * 70
    assert all(len(dropped) == 4 for dropped in four["removed"])
    assert all(many > few for many, few in zip(four["errors"], details["errors"], strict=True))


def test_gates_are_shared_out_again_among_the_remaining_experts():
    experts = tiny_model("mixtral").blocks[0].experts
    raw = torch.tensor([[3.0, 2.0, 1.0, *[-9.0] * 5]])
    assert all_gates(experts, raw)[0, :3].tolist() == pytest.approx([0.731, 0.269, 0], abs=1e-3)
    raw[0, 0] = -math.inf
    assert all_gates(experts, raw)[0, :3].tolist() == pytest.approx([0, 0.731, 0.269], abs=1e-3)


def copies(model, one, other):
    """Make expert `other` of every block compute the same as expert `one`."""
    for block in model.blocks:
        for name in ("gate_up_proj", "down_proj"):
            weight = block.experts.weights()[name]
            weight[other] = weight[one]
    return model


def planted():
    """Return a mixture in which a token uses one expert, and experts 0 and 1 are equal and strong.

    The other experts are weak, and experts 2 and 3 a little weaker.
    """
    model = tiny_model("mixtral", blocks=1, num_experts_per_tok=1)
    (block,) = copies(model, 0, 1).blocks
    weights = block.experts.weights()
    weights["down_proj"][2:] *= 0.3
    weights["down_proj"][2:4] *= 0.5
    weights["router"][1] = weights["router"][0]
    return model


def test_best_set_is_not_that_of_the_best_single_experts():
    """Either of two equal experts can be dropped, but not both."""
    tokens = random_tokens(8)
    (layer,) = layers(planted(), tokens)
    alone = sorted(range(8), key=lambda j: layer.error((j,)))
    assert set(alone[:2]) == {0, 1}  # the other one takes the tokens of a dropped one
    best = exhaustive(layer, 2, False).dropped
    assert len({0, 1} & set(best)) == 1
    assert layer.error((0, 1)) > 2 * layer.error(best)


def test_most_frequent_expert_costs_nothing_if_the_next_one_is_a_copy():
    model, tokens = tiny_model("mixtral", blocks=1, num_experts_per_tok=1), random_tokens(8)
    (block,) = copies(model, 5, 2).blocks
    router = block.experts.weights()["router"]
    router[2] = router[5] * 1.0001  # wherever expert 2 is chosen, 5 is next
    (layer,) = layers(copy.deepcopy(model), tokens)
    counts = torch.cat([batch.target for batch in layer.batches]).gt(0).sum(dim=0)
    assert counts[2] == counts.max()
    costs = {j: layer.error((j,)) for j in range(8) if counts[j]}
    assert costs.pop(2) == pytest.approx(0, abs=1e-5)
    costs.pop(5, None)  # the other one of the two copies
    assert min(costs.values()) > 0.1
    ((removed,),) = losing(model, 1).apply(model, tokens).details["removed"]
    assert removed in (2, 5)


def test_unused_expert_costs_nothing_and_is_always_dropped():
    model = tiny_model("mixtral")
    for layer in layers(model, random_tokens()):
        layer = avoiding(layer, 4)
        used = torch.cat([batch.target for batch in layer.batches]).gt(0).any(dim=0)
        assert (~used).nonzero().flatten().tolist() == [4]
        assert layer.error((4,)) == 0
        assert 4 in exhaustive(layer, 2, False).dropped


def test_of_equal_errors_the_first_set_counts():
    (layer,) = layers(tiny_model("mixtral", blocks=1), random_tokens())
    layer = avoiding(layer, 3, 4, 6)  # removing any of them has an error of 0
    for search in (exhaustive, greedy):
        assert search(layer, 2, False).dropped == (3, 4)


def test_outputs_that_are_not_finite_are_refused_even_of_unused_experts():
    model = tiny_model("mixtral", blocks=1)
    weights = model.blocks[0].experts.weights()
    weights["router"][4] = 0
    weights["router"][5:] *= 100  # others have larger logits
    weights["down_proj"][4] = 3e38
    with pytest.raises(NumericsError, match="block 0: the output of an expert contains NaN"):
        losing(model, 2).apply(model, random_tokens())


def avoiding(layer, *experts):
    """Return the layer with a router that never chooses some experts."""
    batches = []
    for batch in layer.batches:
        logits = batch.logits.index_fill(1, torch.tensor(experts), -50.0)
        batches.append(batch._replace(logits=logits, target=all_gates(layer.experts, logits)))
    return layer._replace(batches=batches)


def test_permuted_experts_give_the_permuted_choice():
    model, order = tiny_model("olmoe"), torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
    other = copy.deepcopy(model)
    for block in other.blocks:
        for weight in block.experts.weights().values():
            weight.copy_(weight[order])
    one, two = (losing(m, 2).apply(m, random_tokens()).details for m in (model, other))
    for removed, permuted in zip(one["removed"], two["removed"], strict=True):
        assert sorted(order[permuted].tolist()) == removed
    torch.testing.assert_close(logits(model), logits(other), rtol=1e-4, atol=1e-4)


def test_layerwise_choice_is_that_of_each_block_of_the_dense_model():
    model, tokens = tiny_model("mixtral", blocks=3), random_tokens()
    expected = [list(exhaustive(one, 2, False).dropped) for one in layers(model, tokens)]
    assert losing(model, 2).apply(model, tokens).details["removed"] == expected


@every_mixture
def test_progressive_errors_are_those_behind_pruned_blocks(family):
    model, tokens = tiny_model(family, blocks=3), random_tokens()
    dense = copy.deepcopy(model)
    details = losing(model, 2, progressive=True).apply(model, tokens).details
    plain = losing(dense, 2).apply(copy.deepcopy(dense), tokens).details
    assert details["removed"][0] == plain["removed"][0]  # nothing is pruned before the first block
    assert details["errors"][0] == pytest.approx(plain["errors"][0], rel=1e-4)
    # Recount the error of the last block: its inputs come from the pruned blocks before it, the
    # target from the dense model.
    z = experts_outputs(dense, tokens)[-1][1]
    half = copy.deepcopy(model)
    half.layers[-1] = copy.deepcopy(dense.layers[-1])
    x = experts_outputs(half, tokens)[-1][0]
    experts = dense.blocks[-1].experts
    expected = error_by_running(experts, x, z, details["removed"][-1])
    assert details["errors"][-1] == pytest.approx(expected, rel=1e-4)
    assert details["errors"][-1] > plain["errors"][-1]
    assert model.config.num_experts == 6


def test_official_norm_depends_on_the_micro_batches_and_ours_does_not():
    def errors(batch_size, **settings):
        model, tokens = tiny_model("mixtral"), random_tokens(batch_size=batch_size)
        return losing(model, 2, **settings).apply(model, tokens).details["errors"]

    assert errors(1) == pytest.approx(errors(6), rel=1e-5)
    assert errors(1, official_norm=True)[0] > 1.5 * errors(6, official_norm=True)[0]
    assert errors(6, official_norm=True) == pytest.approx(errors(6), rel=1e-5)


def test_greedy_search_drops_the_cheapest_expert_and_repeats():
    (layer, *_) = layers(tiny_model("mixtral"), random_tokens())
    found = greedy(layer, 3, False)
    dropped = ()
    for _ in range(3):
        rest = [j for j in range(8) if j not in dropped]
        dropped = (*dropped, min(rest, key=lambda j, d=dropped: layer.error((*d, j))))
    assert found.dropped == tuple(sorted(dropped))
    assert found.tried == 8 + 7 + 6
    best = exhaustive(layer, 3, False)
    assert best.tried == 56
    assert best.error <= found.error
    assert greedy(layer, 1, False) == exhaustive(layer, 1, False)


def test_too_many_sets_are_refused_before_any_work():
    model = tiny_model("olmoe", num_experts=24, intermediate_size=8)
    before = fingerprint(model)
    with pytest.raises(BadInput, match=r"would try 134,596 sets .* use search=greedy"):
        losing(model, 6).apply(model, random_tokens())
    assert same(before, fingerprint(model))
    details = losing(model, 6, search="greedy").apply(model, random_tokens(2)).details
    assert details["experts"] == [18, 18]


def test_leaving_as_many_experts_as_are_chosen_uses_all_of_them():
    model, tokens = tiny_model("mixtral"), random_tokens()
    details = NAEE(sparsity=NAEE().max_sparsity(model)).apply(model, tokens).details
    assert details["experts"] == [2, 2]
    for block in walk(model, tokens, edits=False):
        for batch in routed(block):
            assert batch.chosen.sort(dim=1).values.unique(dim=0).tolist() == [[0, 1]]


@pytest.mark.model
def test_on_a_real_model_split_into_experts_it_beats_random_sets(first_blocks):
    mixture = split(first_blocks.dense, first_blocks.calibration.pick(range(4)))
    ids = first_blocks.held_out[:2, :128]
    expected = mixture.hf(input_ids=ids).logits.log_softmax(dim=-1)

    def divergence(model):
        found = model.hf(input_ids=ids).logits.log_softmax(dim=-1)
        return float((expected.exp() * (expected - found)).sum(dim=-1).mean())

    dense, model = layers(mixture, first_blocks.short), copy.deepcopy(mixture)
    details = losing(model, 2).apply(model, first_blocks.short).details
    chance = []
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        off = torch.zeros(len(dense), 8, dtype=torch.bool)
        for row, layer, error in zip(off, dense, details["errors"], strict=True):
            row[torch.randperm(8, generator=generator)[:2]] = True
            assert error <= layer.error(tuple(row.nonzero().flatten().tolist()))
        with masked(mixture, off.flatten(), "experts"):
            chance.append(divergence(mixture))
    assert 0 < divergence(model) < min(chance)
