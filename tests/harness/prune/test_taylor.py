"""Taylor importance: saliences, scores of vectors, and changes of the loss."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from implementations.harness import Block, backwalk, cuts, keep_units, saliences, vector_scores
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model

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


def test_second_order_is_exact_for_a_quadratic_loss():
    # The Hessian of 1/2 mean (X W^T - Y)^2 has the mean diagonal x_j^2 / out.
    block = tiny_model(dtype=torch.float64).blocks[0]
    weight = block.feed_forward.up.weight
    generator = torch.Generator().manual_seed(0)
    X, Y = (
        torch.randn(20, width, generator=generator, dtype=torch.float64)
        for width in weight.shape[::-1]
    )

    def loss(W: Tensor) -> float:
        return float((X @ W.T - Y).square().mean()) / 2

    gradient = (X @ weight.T - Y).T @ X / Y.numel()
    curvature = (X.square().sum(dim=0) / Y.numel()).expand_as(weight)
    fall = saliences(block, {"up": gradient}, {"up": curvature})["up"]
    for place in ((0, 0), (7, 3), (47, 31)):
        without = weight.clone()
        without[place] = 0
        assert float(fall[place]) == pytest.approx(loss(weight) - loss(without), rel=1e-9)


def test_returns_only_requested_layers():
    block = tiny_model().blocks[0]
    gradient = torch.ones_like(block.feed_forward.down.weight)
    assert list(saliences(block, {"down": gradient})) == ["down"]


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


@every_family
def test_vector_scores_are_at_most_the_sum_of_weight_scores(family: str):
    block = tiny_model(family).blocks[0]
    generator = torch.Generator().manual_seed(0)
    noise = {
        role: torch.randn(linear.weight.shape, generator=generator)
        for role, linear in block.linears().items()
    }
    for kind in ("kv-groups", "channels"):
        layers = [part.linear for part in cuts(block, kind)]
        as_one, one_by_one = (vector_scores(block, kind, noise, whole=w) for w in (True, False))
        assert len(as_one) == len(layers)
        assert bool((as_one <= one_by_one + 1e-12).all())
        assert bool((as_one < one_by_one).any())
        sizes = {role: values.abs() for role, values in noise.items()}
        torch.testing.assert_close(vector_scores(block, kind, sizes, whole=True), one_by_one)
        roles = [r for r, linear in block.linears().items() if linear in layers]
        total = sum(float(sizes[role].double().sum()) for role in roles)
        assert float(one_by_one.sum()) == pytest.approx(total)


@every_family
def test_salience_matches_finite_differences(family: str):
    # To first order, weights that shrink by a factor t lower the loss by t times their saliences.
    model, tokens = tiny_model(family, dtype=torch.float64), random_tokens(samples=2)

    def loss() -> float:
        return float(model.hf(input_ids=tokens.ids, labels=tokens.ids, use_cache=False).loss)

    found = {}
    for block in backwalk(model, tokens, gradients=("up", "o")):
        found[block.index] = saliences(block, block.gradients)
    for block in model.blocks:
        for role, share in (("up", 1e-4), ("o", 1e-4)):
            weight = block.linears()[role].weight
            was = weight.clone()
            losses = []
            for sign in (1, -1):
                weight[3:9] = was[3:9] * (1 + sign * share)
                losses.append(loss())
                weight.copy_(was)
            slope = (losses[0] - losses[1]) / (2 * share)
            scale = float(found[block.index][role].abs().sum())
            assert float(found[block.index][role][3:9].sum()) == pytest.approx(
                slope, abs=2e-3 * scale
            )
