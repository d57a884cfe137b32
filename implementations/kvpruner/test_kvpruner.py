"""KVPruner: ratios and scores, coupled dimensions, trials without side effects, real blocks."""

from __future__ import annotations

import copy
import functools
import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from implementations.harness import (
    Attention,
    LanguageModel,
    keep_kv_groups,
    keep_units,
    masked,
    perplexity,
)
from implementations.harness.contract.helpers import fingerprint, logits, same
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.harness.model.modeling_pruned import held_indices
from implementations.harness.model.units import block_weights, count_weights
from implementations.kvpruner import KVPruner, kvpruner
from implementations.kvpruner.kvpruner import whole

pytestmark = pytest.mark.usefixtures("without_gradients")

every_family = pytest.mark.parametrize("family", [name for name in MODEL_TYPES if name != "opt"])


@functools.cache
def shaped(blocks: int, head_dim: int = 16) -> LanguageModel:
    """Return a model on the meta device with the attention shapes of SmolLM2 (3 KV heads)."""
    config = LlamaConfig(
        hidden_size=9 * head_dim,
        head_dim=head_dim,
        intermediate_size=24 * head_dim,
        num_attention_heads=9,
        num_key_value_heads=3,
        num_hidden_layers=blocks,
        vocab_size=8,
    )
    with torch.device("meta"):
        return LanguageModel(LlamaForCausalLM(config))


def ratios(method: KVPruner, rises: list[float]) -> Tensor:
    """Return the ratios of as many blocks of 8 pairs each."""
    weights = method.allocation_weights(torch.tensor(rises, dtype=torch.float64))
    return method.ratios(shaped(len(rises)), weights)


def left_of(attention: Attention, role: str) -> list[list[int]]:
    """Return the dimensions of each head that a layer holds, `[heads]`."""
    linear, dim = getattr(attention, role), 1 if role == "o" else 0
    width = linear.in_features if dim else linear.out_features
    held = held_indices(linear, dim)
    places = range(width) if held is None else held.tolist()
    heads: list[list[int]] = [[] for _ in range(width // attention.head_size)]
    for place in places:
        heads[place // attention.head_size].append(place % attention.head_size)
    return heads


def lowest(scores: list[float], count: int) -> set[int]:
    return set(sorted(range(len(scores)), key=scores.__getitem__)[:count])


# Ratios


def test_ratios_by_rank_by_hand():
    # 2 R (L - rank - 1/2) / L with R = 0.4 of attention and L = 4.
    found = ratios(KVPruner(sparsity=0.1, allocation="rank"), [2.0, 0.0, 7.0, 1.0])
    assert found.tolist() == pytest.approx([0.3, 0.7, 0.1, 0.5])


def test_ratios_by_perplexity_by_hand():
    # Rises of 0.5, 1.5 and 1 means.
    weights = [math.exp(-0.5), math.exp(-1.5), math.exp(-1.0)]
    found = ratios(KVPruner(sparsity=0.1), [1.0, 3.0, 2.0])
    assert found.tolist() == pytest.approx([3 * 0.4 * w / sum(weights) for w in weights])


def test_ratios_by_the_exponential_of_the_inverse_by_hand():
    weights = [math.exp(2.0), math.exp(1 / 1.5), math.exp(1.0)]
    found = ratios(KVPruner(sparsity=0.05, form="inverse"), [1.0, 3.0, 2.0])
    assert found.tolist() == pytest.approx([3 * 0.2 * w / sum(weights) for w in weights])
    # Where a block does not matter at all the exponent is cut off at 10.
    found = ratios(KVPruner(sparsity=0.01, form="inverse"), [0.0, 1.0])
    assert float(found[0] / found[1]) == pytest.approx(math.exp(10 - 0.5))


def test_excess_above_the_maximum_goes_to_other_blocks():
    # By rank 0.875, 0.625, 0.375, 0.125 of R = 0.5; the first two end at 0.6 and 0.3 are left over,
    # which the others share three to one.
    found = ratios(KVPruner(sparsity=0.125, allocation="rank", most=0.6), [0.0, 1.0, 2.0, 3.0])
    assert found.tolist() == pytest.approx([0.6, 0.6, 0.6, 0.2])
    found = ratios(KVPruner(sparsity=0.1, allocation="rank", most=0.6), [0.0, 1.0, 2.0, 3.0])
    assert found.tolist() == pytest.approx([0.6, 5 / 9, 3 / 9, 1 / 9])  # of 0.7, 0.5, 0.3, 0.1


@given(
    rises=st.lists(st.floats(0, 1e4), min_size=2, max_size=12),
    share=st.floats(0, 1),
    most=st.floats(0.5, 1),
    allocation=st.sampled_from(["ppl", "rank"]),
    form=st.sampled_from(["decay", "inverse"]),
)
def test_mean_is_exact_and_ratios_follow_the_rise_in_perplexity(
    rises, share, most, allocation, form
):
    method = KVPruner(most=most, allocation=allocation, form=form)
    model = shaped(len(rises))
    asked = share * min(most, 7 / 8)
    method = method.model_copy(update={"sparsity": asked / 4})
    found = ratios(method, rises)
    assert float(found.mean()) == pytest.approx(asked, abs=1e-6)
    assert float(found.min()) >= 0
    assert float(found.max()) <= min(most, 7 / 8) + 1e-9
    pairs, costs = method.slots(model)
    lost = whole(found * pairs, costs)
    order = torch.tensor(rises).argsort(stable=True).tolist()
    for less, more in itertools.pairwise(order):
        if rises[less] < rises[more]:
            assert found[less] >= found[more] - 1e-12
            assert lost[less] >= lost[more] or found[less] - found[more] < 1e-9
    assert abs(int(lost.sum()) - asked * 8 * len(rises)) <= 0.5 + 1e-6
    assert int(lost.max()) <= 7


def test_equal_ratios_if_perplexity_does_not_rise():
    for rises in ([0.0] * 5, [3.0] * 5):
        for form in ("decay", "inverse"):
            assert ratios(KVPruner(form=form), rises).tolist() == pytest.approx([0.4] * 5)
    for allocation in ("ppl", "rank"):
        nothing = ratios(KVPruner(sparsity=0, allocation=allocation), [1.0, 2.0])
        assert nothing.tolist() == [0, 0]


def test_rounds_up_the_largest_remainders():
    same_cost = torch.tensor([6, 6, 6, 6])
    amounts = torch.tensor([1.5, 0.25, 2.75, 1.0], dtype=torch.float64)  # 5.5 in all
    assert whole(amounts, same_cost).tolist() == [1, 0, 3, 1]  # of two as near the fewer
    assert whole(amounts + 0.05, same_cost).tolist() == [2, 0, 3, 1]
    # 1.5 units of 10 and 0.75 of 100 are 90: the second alone comes nearer to it than all.
    assert whole(torch.tensor([1.5, 0.75]).double(), torch.tensor([10, 100])).tolist() == [1, 1]


# Scores


def test_scores_by_hand():
    model = tiny_model()  # four query heads, two KV heads of eight
    attention = model.blocks[0].attention
    q, k, v, o = (attention.q.weight, attention.k.weight, attention.v.weight, attention.o.weight)
    for score, size in (("l1", abs), ("l2", lambda x: x * x)):
        found = KVPruner(score=score).channel_scores(attention, {})
        assert found.shape == (4, 2, 8)
        for head, dim in ((0, 0), (1, 5)):
            row = 8 * head + dim
            queries = [16 * head + dim, 16 * head + 8 + dim]  # those of KV head `head`
            by_hand = [
                sum(size(x) for i in queries for x in q[i].double().tolist()) / 2,
                sum(size(x) for x in k[row].double().tolist()),
                sum(size(x) for x in v[row].double().tolist()),
                sum(size(x) for i in queries for x in o[:, i].double().tolist()) / 2,
            ]
            assert found[:, head, dim].tolist() == pytest.approx(by_hand)


@every_family
def test_taylor_is_weight_times_gradient_of_the_loss_on_the_probes(family: str):
    model, tokens = tiny_model(family, blocks=3), random_tokens()
    twin = copy.deepcopy(model)
    with torch.enable_grad():
        probes = tokens.ids[:4]
        twin.hf(probes, labels=probes, use_cache=False).loss.backward()
    found = KVPruner(score="taylor").scores(model, next(tokens.chunks(4)))
    for block, scores in zip(twin.blocks, found, strict=True):
        attention = block.attention
        for place, role in enumerate("qkvo"):
            weight = getattr(attention, role).weight
            sizes = (weight * weight.grad).abs().sum(dim=0 if role == "o" else 1)
            by_head = sizes.view(attention.kv_heads, -1, attention.head_size).mean(dim=1)
            torch.testing.assert_close(scores[place].float(), by_head, rtol=1e-3, atol=1e-6)


def test_balanced_scores_have_mean_one_in_every_matrix():
    attention = tiny_model().blocks[0].attention
    plain = KVPruner(score="l2").channel_scores(attention, {})
    balanced = KVPruner(score="l2", balance=True).channel_scores(attention, {})
    assert balanced.mean(dim=(1, 2)).tolist() == pytest.approx([1] * 4)
    for matrix, scaled in zip(plain, balanced, strict=True):
        torch.testing.assert_close(scaled * matrix.mean(), matrix)
    attention.o.weight.zero_()
    silent = KVPruner(score="l2", balance=True).channel_scores(attention, {})
    torch.testing.assert_close(silent[:3], balanced[:3])
    assert not silent[3].any()  # and no division of zero by zero


# Removal


@every_family
@pytest.mark.parametrize("tie", ["joint", "separate"])
def test_removes_equally_many_pairs_of_every_kv_head(family: str, tie: str):
    model = tiny_model(family, blocks=3)
    dense = copy.deepcopy(model)
    outcome = KVPruner(sparsity=0.1, score="l2", tie=tie).apply(model, random_tokens())
    assert 0 < sum(outcome.details["pairs"]) < 3 * dense.blocks[0].attention.head_size // 2
    for block, was, left in zip(model.blocks, dense.blocks, outcome.details["pairs"], strict=True):
        attention, half = was.attention, was.attention.head_size // 2
        scores = KVPruner(score="l2").channel_scores(attention, {})  # [4, kv heads, head size]
        q, k, v, o = (left_of(block.attention, role) for role in "qkvo")
        for head in range(attention.kv_heads):
            both, own = (scores, scores) if tie == "joint" else (scores[:2], scores[2:])
            pair = [float(both[:, head, [c, c + half]].mean(dim=0).sum()) for c in range(half)]
            removed = lowest(pair, half - left)
            assert k[head] == [d for d in range(2 * half) if d % half not in removed]
            if tie == "separate":
                single = own[:, head].mean(dim=0).tolist()
                gone_dims = lowest(single, 2 * (half - left))
                assert v[head] == [d for d in range(2 * half) if d not in gone_dims]
            else:
                assert v[head] == k[head]
            for query in range(head * attention.group, (head + 1) * attention.group):
                assert q[query] == k[head]
                assert o[query] == v[head]


def test_removes_only_attention_weights():
    model = tiny_model(blocks=4)
    attention = sum(block_weights(b) - 3 * 48 * 32 for b in model.blocks)
    weights = count_weights(model).all
    method = KVPruner(sparsity=0.15)
    # A unit is one of four pairs of dimensions in every head of a block.
    assert method.largest_unit(model) == attention // 4 // 4
    assert method.rate(model) == pytest.approx(0.15 * weights / attention)
    outcome = method.apply(model, random_tokens())
    removed = weights - count_weights(model).all
    assert abs(removed - 0.15 * weights) <= method.largest_unit(model) / 2
    left = outcome.details["pairs"]
    assert outcome.details["cache_could_be"] == sum(left) / 16 == 1 - removed / attention
    for block in model.blocks:
        assert block.feed_forward.channels == 48


def test_maximum_sparsity_keeps_a_pair_per_head():
    smollm2 = shaped(30, head_dim=64)
    assert KVPruner().max_sparsity(smollm2) == pytest.approx(0.9 / 4)
    assert KVPruner(most=1).max_sparsity(smollm2) == pytest.approx(31 / 32 / 4)
    model = tiny_model()
    method = KVPruner(most=1)
    outcome = method.model_copy(update={"sparsity": method.max_sparsity(model)}).apply(
        model, random_tokens()
    )
    assert outcome.details["pairs"] == [1, 1]


def test_blocks_may_differ_and_one_may_have_no_attention_left():
    model = tiny_model(blocks=4)
    keep_kv_groups(model.blocks[1].attention, [])
    keep_kv_groups(model.blocks[2].attention, [1])
    method = KVPruner(sparsity=0.1)
    weights, unit = count_weights(model).all, method.largest_unit(model)
    alike = method.ratios(model, torch.ones(4).double())  # the same share, not the same amount
    assert alike.tolist() == pytest.approx([float(alike[0]), 0, float(alike[0]), float(alike[0])])
    for settings in ({}, {"balance": True}, {"tie": "separate"}):
        pruned = copy.deepcopy(model)
        outcome = KVPruner(sparsity=0.1, **settings).apply(pruned, random_tokens())
        removed = weights - count_weights(pruned).all
        assert abs(removed - 0.1 * weights) <= unit / 2
        left = outcome.details["pairs"]
        assert left[1] == 0
        cache = 2 * left[0] + left[2] + 2 * left[3]  # by KV heads, of which one is left in block 2
        assert outcome.details["cache_could_be"] == cache / 20
        assert bool(logits(pruned).isfinite().all())


# Trials


def test_trials_change_one_block_at_a_time_and_restore_it():
    model, tokens = tiny_model("qwen2", blocks=3), random_tokens()
    method, before = KVPruner(sparsity=0.2, probes=4), fingerprint(model)
    probes = next(tokens.chunks(4))
    scores = method.scores(model, probes)
    dense, alone = method.perplexities(model, scores, probes)
    assert same(before, fingerprint(model))
    assert dense == perplexity(model, probes).value
    count = round(method.rate(model) * 4)
    for index, value in enumerate(alone):
        twin = copy.deepcopy(model)
        for kind, keep in method.kept(scores[index], count).items():
            keep_units(twin.blocks[index], kind, keep)
        assert value == pytest.approx(perplexity(twin, probes).value, rel=1e-5)
    assert len(set(alone)) == 3
    outcome = method.apply(model, tokens)
    assert outcome.details["perplexity_dense"] == dense
    assert outcome.details["perplexity_alone"] == alone


@pytest.mark.parametrize(("trial", "count"), [(0.0, 1), (0.5, 2), (1.0, 3)])
def test_trial_ratio_can_be_set(trial: float, count: int, monkeypatch):
    model, tried = tiny_model(), []

    def counted(model, removed, *kinds):
        tried.append(int(removed.sum()))
        return masked(model, removed, *kinds)

    monkeypatch.setattr(kvpruner, "masked", counted)
    KVPruner(trial=trial).apply(model, random_tokens())
    assert tried == [2 * 3 * count] * 2  # of two KV heads, a pair and its two value dimensions


def test_improvement_counts_as_zero_rise():
    model, method = tiny_model(blocks=4), KVPruner(sparsity=0.1)
    outcome = method.apply(copy.deepcopy(model), random_tokens())
    dense, alone = (outcome.details[f"perplexity_{which}"] for which in ("dense", "alone"))
    assert min(alone) < dense < max(alone)  # the model is random, so some trials are better
    rises = [max(value - dense, 0) for value in alone]
    weights = torch.tensor([math.exp(-rise / (sum(rises) / 4)) for rise in rises]).double()
    lost = whole(method.ratios(model, weights) * 4, torch.ones(4))
    assert outcome.details["pairs"] == (4 - lost).tolist()


def test_uniform_ratios_need_no_trials():
    model = tiny_model(blocks=3)
    outcome = KVPruner(allocation="uniform").apply(model, random_tokens())
    assert "perplexity_alone" not in outcome.details
    pairs = outcome.details["pairs"]
    assert max(pairs) - min(pairs) <= 1


@pytest.mark.model
def test_on_real_blocks_gradients_and_trials_help(four_blocks):
    def error(**settings: object) -> float:
        return four_blocks.error("kvpruner", sparsity=0.05, probes=1, **settings)

    by_size = error(score="l2", allocation="uniform")
    assert 0 < error(score="taylor", allocation="uniform") < by_size / 3
    assert error(score="l2") < by_size * 0.8
