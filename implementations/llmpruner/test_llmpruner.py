"""LLM-Pruner: scores by hand and by plain backward passes, coupled units, protected blocks."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from implementations.harness import (
    BackwalkedBlock,
    BadInput,
    LanguageModel,
    Tokens,
    backwalk,
)
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.harness.model.units import count_weights
from implementations.llmpruner import LLMPruner, llmpruner
from tests.observation import FreedByBlock, sample_gradients

pytestmark = pytest.mark.usefixtures("without_gradients")

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))
every_score = pytest.mark.parametrize(
    "taylor", ["param_first", "param_second", "param_mix", "vectorize"]
)
double = torch.float64
Scores = dict[str, Tensor]  # of the units of each kind, or of the weights of each layer


def block_with(
    model: LanguageModel, gradients: Scores, squares: Scores | None = None
) -> BackwalkedBlock:
    """Return the first block as `backwalk` yields it, with zero gradients by default."""
    block = model.blocks[0]
    none = {role: torch.zeros_like(linear.weight) for role, linear in block.linears().items()}
    there = none | gradients, none | (squares or {})
    return BackwalkedBlock(0, block.module, block.family, *there, {}, masks={}, rerun=list)


def scores(method: LLMPruner, block: BackwalkedBlock) -> Scores:
    salience = method.salience(block)
    return {kind: method.score(block, kind, salience) for kind in method.kinds}


def placed(model: LanguageModel, role: str, at: tuple, values: list[float]) -> Tensor:
    """Return zeros of the shape of a weight, with `values` at some positions."""
    tensor = torch.zeros_like(model.blocks[0].linears()[role].weight)
    tensor[at] = torch.tensor(values, dtype=tensor.dtype)
    return tensor


def reference(model: LanguageModel, tokens: Tokens, taylor: str) -> list[Scores]:
    """Score every unit of every block by itself, from plain backward passes."""
    found = []
    for block, by_sample in zip(model.blocks, sample_gradients(model, tokens), strict=True):
        attention, vectors = block.attention, {}
        for role, each in by_sample.items():
            w, g = block.linears()[role].weight, each.mean(dim=0)
            second = w * w * each.square().mean(dim=0)
            values = {"param_second": second, "param_mix": w * g - second / 2}.get(taylor, w * g)
            if role in ("o", "down"):
                values = values.T
            summed = values.sum(dim=1).abs() if taylor == "vectorize" else values.abs().sum(dim=1)
            vectors[role] = summed.tolist()  # of every row or column that belongs to a unit
        size, group = attention.head_size, attention.group
        groups = []
        for unit in range(attention.kv_heads):
            keys = range(unit * size, (unit + 1) * size)
            queries = range(unit * group * size, (unit + 1) * group * size)
            own = {"q": queries, "o": queries, "k": keys, "v": keys}
            groups.append(sum(vectors[role][i] for role, places in own.items() for i in places))
        parts = [vectors[role] for role in ("gate", "up", "down") if role in vectors]
        channels = [sum(part[i] for part in parts) for i in range(block.feed_forward.channels)]
        found.append({"kv-groups": torch.tensor(groups), "channels": torch.tensor(channels)})
    return found


def lowest(values: Tensor, count: int) -> set[int]:
    return set(values.argsort()[:count].tolist())


# The score


@pytest.mark.parametrize(
    ("taylor", "expected"),
    [("param_first", 5.0), ("param_second", 18.0), ("param_mix", 12.0), ("vectorize", 1.0)],
)
@pytest.mark.parametrize(
    ("role", "kind", "at"),
    [
        ("up", "channels", (3, slice(2))),
        ("down", "channels", (slice(2), 3)),
        ("v", "kv-groups", (9, slice(2))),
        ("o", "kv-groups", (slice(2), 17)),
    ],
)
def test_a_row_and_a_column_by_hand(taylor: str, expected: float, role: str, kind: str, at: tuple):
    # w = 1 -2, g = 3 1, F = 2 4:  |3| + |-2|,  2 + 16,  |3 - 1| + |-2 - 8|,  |3 - 2|
    model = tiny_model("llama")
    linear = model.blocks[0].linears()[role]
    linear.weight.zero_()
    linear.weight[at] = torch.tensor([1.0, -2.0])
    gradients, squares = (
        {role: placed(model, role, at, values)} for values in ([3.0, 1.0], [2.0, 4.0])
    )
    block = block_with(model, gradients, squares)
    found = scores(LLMPruner(taylor=taylor), block)[kind]
    unit = {"channels": 3, "kv-groups": 1}[kind]
    assert float(found[unit]) == expected
    assert found.nonzero().flatten().tolist() == [unit]


@pytest.mark.parametrize(
    ("aggregation", "expected"), [("sum", 10.0), ("prod", 30.0), ("max", 5.0), ("last", 3.0)]
)
def test_channel_scores_combine_layers(aggregation: str, expected: float):
    model = tiny_model("llama")
    for linear in model.blocks[0].linears().values():
        linear.weight.fill_(1.0)
    gradients = {
        "gate": placed(model, "gate", (7, slice(2)), [-4.0, 1.0]),
        "up": placed(model, "up", (7, slice(1)), [2.0]),
        "down": placed(model, "down", (slice(1), 7), [-3.0]),
    }
    found = scores(LLMPruner(aggregation=aggregation), block_with(model, gradients))["channels"]
    assert float(found[7]) == expected
    assert int(found.count_nonzero()) == 1


@pytest.mark.parametrize(
    ("aggregation", "expected"), [("sum", 23.0), ("prod", 9.0), ("max", 10.0), ("last", 5.0)]
)
def test_head_scores_combine_dimensions(aggregation: str, expected: float):
    # Of the second group two places: (q k v o) = (3 1 1 3), q being 1 + 2 of two heads, and
    # (6 7 0 2). Over whole heads, the largest would be 9 and the product 360.
    model = tiny_model("llama")  # heads of 8, two query heads a KV head
    for linear in model.blocks[0].linears().values():
        linear.weight.fill_(1.0)
    q, k, v, o = (torch.zeros_like(model.blocks[0].linears()[role].weight) for role in "qkvo")
    q[16, 0], q[24, 0], q[18, 0] = 1, 2, 6
    k[8, 0], k[10, 0] = 1, 7
    v[8, 0] = 1
    o[0, 24], o[0, 18] = 3, 2
    block = block_with(model, {"q": q, "k": k, "v": v, "o": o})
    found = scores(LLMPruner(aggregation=aggregation), block)["kv-groups"]
    assert found.tolist() == [0.0, expected]


@every_family
@every_score
def test_scores_are_those_of_plain_backward_passes(family: str, taylor: str):
    model, tokens = tiny_model(family, dtype=double), random_tokens(samples=5)
    expected = reference(model, tokens, taylor)
    method, second = LLMPruner(taylor=taylor), taylor in ("param_second", "param_mix")
    roles = model.blocks[0].linears()
    for block in backwalk(model, tokens, gradients=roles, squares=second):
        for kind, found in scores(method, block).items():
            by_hand = expected[block.index][kind].double()
            torch.testing.assert_close(found, by_hand, rtol=1e-5, atol=0)


# Removal


@every_score
def test_removes_the_lowest_scores_of_every_block(taylor: str):
    model, tokens = tiny_model(blocks=3, dtype=double), random_tokens()
    expected, dense = reference(model, tokens, taylor), copy.deepcopy(model)
    LLMPruner(taylor=taylor, sparsity=0.3).apply(model, tokens)
    for block, was, by_kind in zip(model.blocks, dense.blocks, expected, strict=True):
        removed = was.feed_forward.channels - block.feed_forward.channels
        assert removed > 0
        stay = set(range(was.feed_forward.channels)) - lowest(by_kind["channels"], removed)
        assert torch.equal(block.feed_forward.up.weight, was.feed_forward.up.weight[sorted(stay)])
        lost = was.attention.kv_heads - block.attention.kv_heads
        stay = set(range(was.attention.kv_heads)) - lowest(by_kind["kv-groups"], lost)
        size = was.attention.head_size
        rows = [head * size + dim for head in sorted(stay) for dim in range(size)]
        assert torch.equal(block.attention.v.weight, was.attention.v.weight[rows])


def test_protects_the_ends_and_prunes_the_others_equally():
    model = tiny_model("llama", blocks=8, num_key_value_heads=4, intermediate_size=40)
    dense = copy.deepcopy(model)
    outcome = LLMPruner(sparsity=0.3, first=0.25, last=0.125).apply(model, random_tokens())
    whole = {0, 1, 7}
    for block, was in zip(model.blocks, dense.blocks, strict=True):
        if block.index in whole:
            for role, linear in block.linears().items():
                assert torch.equal(linear.weight, was.linears()[role].weight)
    inner = [i for i in range(8) if i not in whole]
    for key, count in (("kv_groups", 4), ("channels", 40)):
        left = outcome.details[key]
        assert all(left[i] == count for i in whole)
        assert all(left[i] < count for i in inner)
        assert max(left[i] for i in inner) - min(left[i] for i in inner) <= 1
    # The closed form: 3 d a channel, 4 d h a head.
    removed = sum(3 * 32 * (40 - outcome.details["channels"][i]) for i in inner)
    removed += sum(4 * 32 * 8 * (4 - outcome.details["kv_groups"][i]) for i in inner)
    assert count_weights(dense).all - count_weights(model).all == removed
    assert abs(removed - 0.3 * count_weights(dense).all) <= 4 * 32 * 8 / 2


def test_default_protected_blocks():
    model = tiny_model("llama", blocks=32)
    taking_part = LLMPruner().taking_part(model).tolist()
    assert taking_part == [False] * 4 + [True] * 26 + [False] * 2


@pytest.mark.parametrize("settings", [{"sparsity": 1.0}, {"sparsity": 0.8, "first": 0.5}])
def test_refuses_sparsity_beyond_the_inner_blocks(settings: dict[str, Any]):
    model = tiny_model("llama", blocks=4)
    with pytest.raises(BadInput, match=r"at most 0\."):
        LLMPruner(**settings).apply(model, random_tokens())
    assert model.blocks[0].feed_forward.channels == 48


def test_every_block_keeps_one_unit_of_each_kind():
    method = LLMPruner(first=0, last=0)
    limit = method.max_sparsity(tiny_model())
    outcome = LLMPruner(sparsity=limit, first=0, last=0).apply(tiny_model(), random_tokens())
    assert outcome.details == {"kv_groups": [1, 1], "channels": [1, 1]}


def test_gradients_are_freed_before_the_next_block(monkeypatch):
    freed = FreedByBlock()
    salience = freed.recorded(LLMPruner.salience, lambda result: result.values())
    monkeypatch.setattr(LLMPruner, "salience", salience)
    monkeypatch.setattr(llmpruner, "backwalk", freed.checked(backwalk))
    LLMPruner().apply(tiny_model(blocks=3), random_tokens())
    assert len(freed.references) == 2 * 3 * 7  # gradients and saliences of three blocks


# Calibration


def test_uses_the_first_samples():
    few = random_tokens(samples=2)
    many = Tokens.from_ids(torch.cat([few.ids, random_tokens(samples=4, seed=1).ids]))
    results = []
    for tokens, samples in ((few, 10), (many, 2), (many, 6)):
        model = tiny_model("llama")
        LLMPruner(sparsity=0.4, samples=samples).apply(model, tokens)
        results.append([linear.weight for _, _, linear in model.linears()])
    assert all(map(torch.equal, results[0], results[1]))
    assert not all(map(torch.equal, results[0], results[2]))


@pytest.mark.model
def test_on_real_blocks_it_beats_random_and_magnitude(first_blocks):
    error = first_blocks.error("llmpruner", sparsity=0.2)
    others = [first_blocks.error(slug, sparsity=0.2) for slug in ("random", "unitmagnitude")]
    assert 0 < error < min(others)
