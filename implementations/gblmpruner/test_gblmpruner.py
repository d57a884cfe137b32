"""GBLM-Pruner: the score, its relation to Wanda and to gradients alone, and the real model."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from implementations.gblmpruner import GBLMPruner
from implementations.gblmpruner.gblmpruner import scores
from implementations.harness import LanguageModel, Tokens, get_method
from implementations.harness.contract.tiny import random_tokens, tiny_model
from tests.observation import inputs, sample_gradients

pytestmark = pytest.mark.usefixtures("without_gradients")

ALPHA = {"l1": 40.0, "l2": 100.0}  # both terms matter on the tiny model


def masks(model: LanguageModel) -> list[dict[str, Tensor]]:
    """Mark the zeros of every layer, by role."""
    return [{role: x.weight == 0 for role, x in b.linears().items()} for b in model.blocks]


def pruned(tokens: Tokens, blocks: int = 2, **settings) -> list[dict[str, Tensor]]:
    model = tiny_model(blocks=blocks)
    GBLMPruner(**settings).apply(model, tokens)
    return masks(model)


def same(a: list[dict[str, Tensor]], b: list[dict[str, Tensor]]) -> bool:
    return all(torch.equal(x[role], y[role]) for x, y in zip(a, b, strict=True) for role in x)


def lowest(score: Tensor) -> Tensor:
    """Mark the lower half of each row, by a plain sort."""
    order = score.argsort(dim=1, stable=True)[:, : score.shape[1] // 2]
    return torch.zeros_like(score, dtype=torch.bool).scatter_(1, order, True)


def test_score_is_a_sum_of_two_products():
    weight = torch.tensor([[2.0, -1, 1, 3], [1, 1, -1, 1]])
    norms = torch.tensor([1.0, 4, 2, 1])
    gradients = torch.tensor([[3.0, 0.5, 1, 0], [0, 1, 2, 3]])
    expected = [[8, 4.5, 3, 3], [1, 5, 4, 4]]
    assert scores(weight, norms, gradients).tolist() == expected
    assert scores(weight.bfloat16(), norms, gradients).dtype == torch.float32


def test_the_scale_of_a_row_does_not_matter():
    generator = torch.Generator().manual_seed(0)
    weight, gradients = (torch.randn(6, 16, generator=generator) for _ in range(2))
    norms, factors = torch.rand(16, generator=generator), 2.0 ** torch.arange(6)[:, None]
    plain = scores(weight, norms, gradients.abs())
    scaled = scores(weight * factors, norms, gradients.abs())
    assert torch.equal(lowest(scaled), lowest(plain))


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_masks_by_the_definition(norm):
    """Gradients are those of the dense model, norms those of the pruned one."""
    tokens, dense = random_tokens(5, 24), tiny_model(blocks=3)
    half, order = copy.deepcopy(dense), int(norm[1])
    model = copy.deepcopy(dense)
    GBLMPruner(norm=norm, alpha=ALPHA[norm]).apply(model, tokens)
    half.layers[0].load_state_dict(model.layers[0].state_dict())
    half.layers[1].load_state_dict(model.layers[1].state_dict())

    def agree(active: LanguageModel, differentiated: LanguageModel) -> bool:
        gradients = sample_gradients(differentiated, tokens)[2]
        equal = []
        for role, linear in dense.blocks[2].linears().items():
            X = inputs(active, active.blocks[2].linears()[role], tokens)  # [tokens, in]
            by_sample = X.unflatten(0, (5, 24)).square().sum(dim=1)
            norms = by_sample.mean(dim=0).sqrt()
            G = ALPHA[norm] * torch.linalg.vector_norm(gradients[role].double(), order, dim=0)
            removed = lowest(linear.weight.abs().double() * (norms + G))
            equal.append(torch.equal(removed, model.blocks[2].linears()[role].weight == 0))
        return all(equal)

    assert agree(half, dense)
    assert not agree(dense, dense)
    assert not agree(half, half)


@pytest.mark.parametrize("settings", [{"sparsity": 0.5}, {"pattern": "2:4"}])
def test_without_the_gradient_term_it_is_wanda(settings):
    tokens, wanda = random_tokens(4), tiny_model()
    get_method("wanda").configure(**settings).apply(wanda, tokens)
    assert same(pruned(tokens, alpha=0, **settings), masks(wanda))
    assert not same(pruned(tokens, alpha=1, **settings), masks(wanda))


def test_with_a_large_alpha_only_gradients_count():
    tokens, dense = random_tokens(4), tiny_model()
    gradients = sample_gradients(dense, tokens)
    for block, ours in zip(dense.blocks, pruned(tokens, alpha=1e12), strict=True):
        for role, linear in block.linears().items():
            sums = gradients[block.index][role].abs().sum(dim=0)
            assert torch.equal(ours[role], lowest(linear.weight.abs() * sums))


@pytest.mark.parametrize(("norm", "factor"), [("l1", 2.0), ("l2", 2**0.5)])
def test_copies_of_the_samples_raise_the_gradient_term(norm, factor):
    """Neither the sum over samples nor its root is divided by their number, unlike the norms."""
    tokens = random_tokens(4)
    twice = Tokens.from_ids(torch.cat([tokens.ids] * 2))

    def at(tokens: Tokens, times: float) -> list[dict[str, Tensor]]:
        return pruned(tokens, norm=norm, alpha=times * ALPHA[norm])

    assert same(at(twice, 1), at(tokens, factor))
    assert not same(at(twice, 1), at(tokens, 1))


@pytest.mark.model
def test_on_the_real_model_it_is_close_to_wanda_until_alpha_is_large(first_blocks):
    def pruned(slug: str, **settings) -> list[dict[str, Tensor]]:
        model = copy.deepcopy(first_blocks.dense)
        get_method(slug).configure(**settings).apply(model, first_blocks.short)
        return masks(model)

    def moved(alpha: float) -> float:
        pairs = zip(pruned("gblmpruner", alpha=alpha), wanda, strict=True)
        both = [(ours[role], theirs[role]) for ours, theirs in pairs for role in ours]
        return sum(int((a & ~b).sum()) for a, b in both) / sum(int(b.sum()) for _, b in both)

    wanda = pruned("wanda")
    shares = [moved(alpha) for alpha in (100, 10_000)]
    assert 0.0005 < shares[0] < 0.05 < shares[1]
