"""Scores, not positions, select the blocks that lose KV groups left over by rounding."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from implementations.harness import LanguageModel, Method, get_method
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.prune.unit_method import UnitMethod

EVEN = {  # with settings under which every block loses the same share
    "hywia": {"first": 0.0, "last": 0.0},
    "llmbip": {},
    "llmpruner": {"first": 0.0, "last": 0.0},
    "minillm": {"directions": 3},
    "osscar": {},
    "slimgpt": {"first": 1.0},
    "slimllm": {"layers": 1.0, "alpha": 0.0},
}


def widths(method: Method, model: LanguageModel) -> list[int]:
    """Prune a copy of the model and return the number of KV groups of every block."""
    pruned = copy.deepcopy(model)
    method.apply(pruned, random_tokens())
    return [block.attention.kv_heads for block in pruned.blocks]


@pytest.mark.parametrize("slug", EVEN)
def test_scores_select_the_blocks_that_lose_remaining_groups(
    slug: str, monkeypatch: pytest.MonkeyPatch
):
    """A budget of 20 % removes two of ten groups: the lowest scores of two different blocks."""
    model = tiny_model("llama", blocks=5)
    method = get_method(slug).configure(sparsity=0.2, **EVEN[slug])
    given: list[Tensor] = []
    whole = UnitMethod.widths

    def recorded(self, model, shares, scores=None, budget=None):
        given.extend(scores["kv-groups"])
        return whole(self, model, shares, scores, budget)

    monkeypatch.setattr(UnitMethod, "widths", recorded)
    lost = [2 - kept for kept in widths(method, model)]
    assert sum(lost) == 2
    assert len(given) == 5
    cheapest = torch.stack([units.min() / units.abs().mean() for units in given])
    assert [i for i, n in enumerate(lost) if n] == sorted(cheapest.topk(2, largest=False).indices)
