"""Mixtures made by splitting a dense model."""

from __future__ import annotations

import pytest
import torch

from implementations.harness import BadInput, routed, walk
from implementations.harness.contract.helpers import logits
from implementations.harness.contract.split_mixture import balanced_groups, split
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.model.units import count_weights


@pytest.mark.parametrize("tied", [True, False])
def test_mixture_with_all_experts_chosen_equals_the_dense_model(tied):
    dense = tiny_model("llama", tie_word_embeddings=tied)
    mixture = split(dense, random_tokens(), experts=4, top_k=4)
    assert mixture.family.name == "mixtral"
    torch.testing.assert_close(logits(mixture), logits(dense), rtol=0, atol=1e-3)
    router = 2 * 4 * 32
    assert count_weights(mixture).all == count_weights(dense).all + router


def test_channels_are_shared_out_without_loss():
    dense = tiny_model("llama")
    mixture = split(dense, random_tokens(), experts=6, top_k=2)
    for block, made in zip(dense.blocks, mixture.blocks, strict=True):
        weights = made.experts.weights()
        gate, up = weights["gate_up_proj"].chunk(2, dim=1)
        rows = torch.cat([gate, up], dim=2).flatten(end_dim=1)  # [channels, 2 * hidden]
        columns = weights["down_proj"].transpose(1, 2).flatten(end_dim=1) / 2
        part = block.feed_forward
        expected = torch.cat([part.gate.weight, part.up.weight, part.down.weight.T], dim=1)
        found = torch.cat([rows, columns], dim=1)
        assert torch.equal(sorted_rows(found), sorted_rows(expected))


def sorted_rows(matrix):
    return matrix[matrix[:, 0].argsort()]


def test_router_prefers_experts_with_large_outputs():
    dense, tokens = tiny_model("llama"), random_tokens(16)
    mixture = split(dense, tokens, experts=4, top_k=2)
    share = []
    with torch.no_grad():
        for block in walk(mixture, tokens, edits=False):
            for batch in routed(block):
                experts = block.experts
                norms = torch.stack([experts.output(j, batch.x).norm(dim=1) for j in range(4)], 1)
                share.append(norms.gather(1, batch.chosen).sum() / norms.sum())
    assert min(share) > 0.52  # half at random


def test_groups_are_balanced_and_hold_similar_rows():
    centres = torch.eye(3, 8) * 5
    generator = torch.Generator().manual_seed(0)
    kind = torch.arange(12) % 3
    rows = centres[kind] + 0.1 * torch.randn(12, 8, generator=generator)
    groups = balanced_groups(rows, 3)
    assert groups.shape == (3, 4)
    assert sorted(groups.flatten().tolist()) == list(range(12))
    assert all(len(kind[group].unique()) == 1 for group in groups)


@pytest.mark.parametrize(
    ("family", "experts", "top_k", "problem"),
    [
        ("qwen2", 8, 2, "only a Llama can be split"),
        ("llama", 7, 2, "`experts` must divide the 48 channels of tiny-llama, got 7"),
        ("llama", 8, 9, "`top_k` must be between 1 and 8, got 9"),
    ],
)
def test_refuses_other_families_and_numbers(family, experts, top_k, problem):
    with pytest.raises(BadInput, match=problem):
        split(tiny_model(family), random_tokens(), experts, top_k)
