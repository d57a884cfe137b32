"""HyWIA: the fusion, scores by plain backward passes, single views, protected blocks."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from implementations.harness import (
    BackwalkedBlock,
    BadInput,
    NumericsError,
    Tokens,
    backwalk,
    get_method,
)
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.hywia import HyWIA, hywia
from implementations.hywia.hywia import fuse
from tests.observation import FreedByBlock, sample_gradients

pytestmark = pytest.mark.usefixtures("without_gradients")

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))
double = torch.float64


def rows(*values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=double)


def votes(seed: int, samples: int = 5, units: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(samples, units, generator=generator, dtype=double) + 0.1


# The fusion


def test_fusion_of_two_votes_by_hand():
    # c = 1/2 3/2 and e = 1 1, the consensus is 3/4 5/4.
    fused, fine = fuse(rows([1, 3]), rows([5, 5]), 10, "")
    length = math.hypot(0.75, 1.25)
    near_coarse = (0.75 * 0.5 + 1.25 * 1.5) / (length * math.hypot(0.5, 1.5))
    near_fine = (0.75 + 1.25) / (length * math.hypot(1, 1))
    weight = math.exp(10 * near_fine) / (math.exp(10 * near_fine) + math.exp(10 * near_coarse))
    assert fine == pytest.approx(weight)
    assert fused.tolist() == pytest.approx([0.5 + weight / 2, 1.5 - weight / 2])


def test_view_with_consistent_samples_has_more_weight():
    fused, fine = fuse(rows([1, 3], [3, 1]), rows([2, 2], [2, 2]), 10, "")
    apart = math.exp(10 * (2 / 5**0.5 - 1))  # cos(1 1, 1/2 3/2) = 2 / sqrt 5
    assert fine == pytest.approx(1 / (1 + apart))
    assert fused.tolist() == pytest.approx([1, 1])
    assert fuse(rows([1, 3], [3, 1]), rows([2, 2], [2, 2]), 100, "")[1] > 0.99


def test_the_scale_of_a_view_and_of_a_sample_does_not_matter():
    coarse, fine = votes(0), votes(1)
    expected, share = fuse(coarse, fine, 10, "")
    loud = coarse.clone()
    loud[2] *= 1000
    for scaled in (1000 * coarse, loud):
        fused, fine_share = fuse(scaled, fine, 10, "")
        torch.testing.assert_close(fused, expected)
        assert fine_share == pytest.approx(share)


def test_both_views_count_alike_if_they_are_equal_and_trade_places_if_swapped():
    one, other = votes(0), votes(1)
    fused, fine = fuse(one, one, 10, "")
    assert fine == pytest.approx(0.5)
    (fused, fine), (swapped, coarse) = fuse(one, other, 10, ""), fuse(other, one, 10, "")
    assert fine + coarse == pytest.approx(1)
    torch.testing.assert_close(fused, swapped)


def test_without_sharpness_all_votes_count_alike():
    both = torch.cat([votes(0), votes(1)])
    fused, fine = fuse(*both.split(5), 0, "")
    assert fine == pytest.approx(0.5)
    torch.testing.assert_close(fused, (both / both.mean(dim=1, keepdim=True)).mean(dim=0))


@pytest.mark.parametrize("fusion", ["coarse", "fine", "attention"])
def test_refuses_a_model_without_gradients(fusion: str):
    model = tiny_model(blocks=4)
    for _, _, linear in model.linears():
        linear.weight.zero_()
    method = HyWIA(fusion=fusion, first=0, last=0, samples=2)
    with pytest.raises(NumericsError, match=r"block \d, kv-groups.*no gradient"):
        method.apply(model, random_tokens(samples=2))


def test_refuses_votes_without_information():
    silent = votes(0)
    silent[3] = 0
    with pytest.raises(NumericsError, match=r"block 7, channels.*no gradient"):
        fuse(silent, votes(1), 10, "block 7, channels")


# The votes


def by_hand(block, gradients: dict[str, Tensor], order: int) -> tuple[Tensor, Tensor]:
    """Return the votes on a block's channels, coarse and fine `[samples, channels]`."""
    coarse, fine = [], []
    for sample in range(len(gradients["up"])):
        one, other = [0.0] * block.feed_forward.channels, [0.0] * block.feed_forward.channels
        for role in {"gate", "up", "down"} & gradients.keys():
            w = block.linears()[role].weight
            fisher = gradients[role].square().mean(dim=0)
            terms = w * gradients[role][sample]
            single = terms - w * w * fisher / 2 if order == 2 else terms
            if role == "down":
                terms, single = terms.T, single.T
            for channel in range(len(one)):
                one[channel] += float(terms[channel].sum().abs())
                other[channel] += float(single[channel].abs().sum())
        coarse.append(one)
        fine.append(other)
    return rows(*coarse), rows(*fine)


@every_family
@pytest.mark.parametrize("order", [1, 2])
def test_votes_are_those_of_plain_backward_passes(family: str, order: int):
    model, tokens = tiny_model(family, dtype=double), random_tokens(samples=4)
    expected = sample_gradients(model, tokens)
    method, roles = HyWIA(order=order), model.blocks[0].linears()
    for block in backwalk(model, tokens, gradients=roles, squares=True):
        coarse, fine = by_hand(block, expected[block.index], order)
        fused, share = fuse(coarse, fine, 10, "")
        found, fine_share = method.scores(block, ["channels"])["channels"]
        torch.testing.assert_close(found, fused, rtol=1e-5, atol=0)
        assert fine_share == pytest.approx(share, rel=1e-5)


def test_a_kv_group_counts_with_all_its_heads():
    # One sample, one weight of 1 with a gradient in each place; only the last group has any.
    model = tiny_model("llama", num_attention_heads=8, num_key_value_heads=2, head_dim=4)
    block = model.blocks[0]
    none = {role: torch.zeros_like(linear.weight) for role, linear in block.linears().items()}
    gradient = dict(none)
    gradient["q"] = torch.zeros_like(none["q"])
    gradient["q"][-16:, 0] = 1.0  # four query heads of 4
    block.attention.q.weight.fill_(1.0)
    there = BackwalkedBlock(
        0,
        block.module,
        block.family,
        gradient,
        none,
        absolutes={},
        masks={},
        rerun=lambda: iter([gradient]),
    )
    found, _ = HyWIA().scores(there, ["kv-groups"])["kv-groups"]
    assert found.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("settings", "taylor"),
    [
        ({"fusion": "coarse"}, "vectorize"),
        ({"fusion": "fine"}, "param_mix"),
        ({"fusion": "fine", "order": 1}, "param_first"),
    ],
)
def test_either_view_alone_is_a_variant_of_llm_pruner(settings: dict, taylor: str):
    tokens, one, other = random_tokens(), tiny_model(blocks=3), tiny_model(blocks=3)
    outcome = HyWIA(sparsity=0.3, **settings).apply(one, tokens)
    get_method("llmpruner").configure(sparsity=0.3, taylor=taylor).apply(other, tokens)
    pairs = zip(one.hf.parameters(), other.hf.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    fine = float(settings["fusion"] == "fine")
    assert set(outcome.details["channels_fine"]) == {fine}


# Whole models


def test_protects_the_ends_and_reports_weights_of_the_others():
    model = tiny_model(blocks=8)
    dense = copy.deepcopy(model)
    details = HyWIA(sparsity=0.4, first=0.25, last=0.125).apply(model, random_tokens()).details
    for index in (0, 1, 7):
        for role, linear in model.blocks[index].linears().items():
            assert torch.equal(linear.weight, dense.blocks[index].linears()[role].weight)
    for kind, all_there in (("kv_groups", 2), ("channels", 48)):
        for left, fine in zip(details[kind], details[f"{kind}_fine"], strict=True):
            assert (fine is None) == (left == all_there)
            assert fine is None or 0 < fine < 1
    assert [left == 48 for left in details["channels"]] == [True] * 2 + [False] * 5 + [True]


def test_every_block_keeps_one_unit_of_each_kind():
    limit = HyWIA(first=0, last=0).max_sparsity(tiny_model())
    details = HyWIA(sparsity=limit, first=0, last=0).apply(tiny_model(), random_tokens()).details
    assert (details["kv_groups"], details["channels"]) == ([1, 1], [1, 1])


def test_gradients_are_freed_before_the_next_block(monkeypatch):
    freed = FreedByBlock()
    monkeypatch.setattr(hywia, "backwalk", freed.checked(backwalk))
    HyWIA().apply(tiny_model(blocks=3), random_tokens())
    assert len(freed.references) == 3 * 7


def test_uses_the_first_samples():
    few = random_tokens(samples=2)
    many = Tokens.from_ids(torch.cat([few.ids, random_tokens(samples=4, seed=1).ids]))
    results = []
    for tokens, samples in ((few, 10), (many, 2), (many, 6)):
        model = tiny_model()
        HyWIA(sparsity=0.4, samples=samples, first=0.0, last=0.0).apply(model, tokens)
        results.append([linear.weight for _, _, linear in model.linears()])
    assert all(map(torch.equal, results[0], results[1]))
    assert not all(map(torch.equal, results[0], results[2]))


def test_the_order_can_be_given_as_text():
    assert HyWIA.configure(order="1").order == 1
    with pytest.raises(BadInput, match="order: Input should be 1 or 2"):
        HyWIA.configure(order="3")


@pytest.mark.model
def test_on_real_blocks_it_beats_chance(first_blocks):
    error = first_blocks.error("hywia", sparsity=0.2, samples=2)
    assert 0 < error < first_blocks.error("random", sparsity=0.2)
