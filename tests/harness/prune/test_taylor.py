"""Taylor importance: saliences, scores of vectors, and changes of the loss."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from implementations.harness import Block, gradient_norms, keep_units, saliences, vector_scores
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from tests.observation import sample_gradients

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))
pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture
def no_gradients():
    with torch.no_grad():
        yield


def zeros(block: Block) -> dict[str, Tensor]:
    return {role: torch.zeros_like(linear.weight) for role, linear in block.linears().items()}


def test_salience_examples():
    block = tiny_model().blocks[0]
    gradients, squares = zeros(block), zeros(block)
    block.attention.o.weight[0, :3] = torch.tensor([1.0, -2.0, 4.0])
    gradients["o"][0, :3] = torch.tensor([3.0, 1.0, 0.0])
    squares["o"][0, :3] = torch.tensor([2.0, 1.0, 0.5])
    first = saliences(block, gradients)
    assert first["o"][0, :3].tolist() == [3, -2, 0]
    second = saliences(block, gradients, squares)
    assert second["o"][0, :3].tolist() == [3 - 1, -2 - 2, 0 - 4]
    assert list(first) == list(second) == list(block.linears())
    assert not any(first[role].any() for role in first if role != "o")


@pytest.mark.parametrize(("norm", "order"), [("l1", 1), ("l2", 2)])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_gradient_norms_are_over_samples(norm: str, order: int, batch_size: int):
    tokens = random_tokens(samples=5, batch_size=batch_size)
    expected = sample_gradients(tiny_model(blocks=3), tokens)
    seen = []
    for block, ours in gradient_norms(tiny_model(blocks=3), tokens, norm):
        seen.append(block.index)
        gradients = expected[block.index]
        assert list(ours) == list(gradients)
        for role, each in gradients.items():
            reference = torch.linalg.vector_norm(each, ord=order, dim=0)
            torch.testing.assert_close(ours[role], reference, rtol=1e-4, atol=1e-6)
            block.linears()[role].weight.zero_()  # does not affect the other blocks
    assert seen == [2, 1, 0]


@pytest.mark.parametrize("whole", [True, False])
def test_scores_of_a_row_and_a_column(whole: bool):
    block = tiny_model().blocks[0]
    salience = zeros(block)
    salience["gate"][5, :2] = torch.tensor([3.0, -2.0])
    salience["up"][5, :2] = torch.tensor([-1.0, -1.0])
    salience["down"][:2, 5] = torch.tensor([2.0, -4.0])
    scores = vector_scores(block, "channels", salience, whole=whole)
    assert scores.shape == (3, 48, 1)
    assert scores.dtype == torch.float64
    assert scores[:, 5, 0].tolist() == ([1, 2, 2] if whole else [5, 2, 6])
    assert int(scores.count_nonzero()) == 3


@every_family
@pytest.mark.parametrize("whole", [True, False])
def test_sums_query_heads_that_share_a_key_head(family: str, whole: bool):
    block = tiny_model(family).blocks[0]
    attention = block.attention
    size, group = attention.head_size, attention.group
    for role, shared in (("q", True), ("k", False), ("v", False), ("o", True)):
        salience = zeros(block)
        sides = salience[role].T if role == "o" else salience[role]  # a place in dimension 0
        sides[:, 1] = torch.arange(1.0, len(sides) + 1)
        scores = vector_scores(block, "kv-groups", salience, whole=whole)
        assert scores.shape == (4, attention.kv_heads, size)
        for unit in range(attention.kv_heads):
            heads = range(unit * group, (unit + 1) * group) if shared else (unit,)
            expected = [sum(h * size + dim + 1 for h in heads) for dim in range(size)]
            assert scores[["q", "k", "v", "o"].index(role), unit].tolist() == expected
        assert int(scores.count_nonzero()) == attention.kv_heads * size


def test_scores_nothing_without_units():
    block = tiny_model().blocks[0]
    keep_units(block, "kv-groups", [])
    keep_units(block, "channels", [])
    for kind, layers in (("kv-groups", 4), ("channels", 3)):
        scores = vector_scores(block, kind, zeros(block), whole=True)
        assert scores.shape[:2] == (layers, 0)
