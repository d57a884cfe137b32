"""MoDeGPT: the three decompositions, the shares of blocks, whole models, a real model."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from torch import Tensor

from implementations.harness import LanguageModel, cosine_distance
from implementations.harness.contract.helpers import logits
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.modegpt import MoDeGPT
from implementations.modegpt.modegpt import (
    factors,
    layer_shares,
    leverage,
    pair_scores,
    shrink_values,
)
from tests.observation import inputs

pytestmark = pytest.mark.usefixtures("without_gradients")

rotating = pytest.mark.parametrize("family", ["llama", "mistral", "qwen2"])


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def damped(gram: Tensor, damping: float = 0.01) -> Tensor:
    return gram + damping * gram.diagonal().mean() * torch.eye(len(gram))


def root(C: Tensor) -> Tensor:
    values, axes = torch.linalg.eigh(C)
    return axes * values.clamp(min=0).sqrt() @ axes.T


# Shares of blocks


def test_blocks_with_less_influence_lose_more():
    b = torch.tensor([0.9, 0.1, 0.3], dtype=torch.float64)
    weights = [math.exp(-x / 0.15) for x in b.tolist()]
    expected = [3 * weight / sum(weights) for weight in weights]
    assert layer_shares(b, 0.15).tolist() == pytest.approx(expected)
    assert layer_shares(b, 1e9).tolist() == pytest.approx([1, 1, 1])


# Type I: channels


def test_leverage_is_that_of_ridge_regression():
    X = random(80, 10) @ random(10, 10, seed=1)
    C = X.T @ X
    scores = torch.diag(C @ torch.linalg.inv(damped(C, 0.3)))
    torch.testing.assert_close(leverage(C, 0.3), scores)
    assert leverage(C, 1e6).argsort().tolist() == C.diagonal().argsort().tolist()


def test_copies_and_silent_channels_have_little_leverage():
    X = random(200, 6)
    X[:, 1] = X[:, 0] = 3 * X[:, 0]  # the two strongest, but one can replace the other
    X[:, 4] = 0
    scores = leverage(X.T @ X, 0.01)
    assert set(scores.argsort()[:3].tolist()) == {0, 1, 4}
    assert scores[4] == 0


# Type II: rotary pairs


def test_pair_scores_are_those_of_matrix_roots():
    attention = tiny_model("llama").blocks[0].attention  # 2 KV heads, each of 2 query heads
    size, half = attention.head_size, attention.head_size // 2
    Q, K = random(4, 50, size), random(2, 50, size, seed=1)
    expected = torch.zeros(2, half, dtype=torch.float64)
    for head in range(4):
        norms = [root(one.T @ one).norm(dim=0) ** 2 for one in (Q[head], K[head // 2])]
        products = norms[0] * norms[1]
        expected[head // 2] += products[:half] + products[half:]
    ours = pair_scores(attention, Q.square().sum(dim=1), K.square().sum(dim=1))
    torch.testing.assert_close(ours, expected.sqrt())


def energies(model: LanguageModel, index: int, role: str, tokens) -> Tensor:
    """Return the summed squares of rotated queries or keys, by complex numbers, `[heads, size]`."""
    attention = model.blocks[index].attention
    linear, size = getattr(attention, role), attention.head_size
    x = inputs(model, linear, tokens) @ linear.weight.double().T
    x = x if linear.bias is None else x + linear.bias.double()
    x = x.view(*tokens.ids.shape, -1, 2, size // 2)  # [samples, length, heads, 2, h]
    theta = model.hf.model.rotary_emb.inv_freq.double()
    turn = torch.arange(tokens.ids.shape[1])[:, None] * theta  # [length, h]
    z = torch.complex(x[..., 0, :], x[..., 1, :]) * torch.exp(1j * turn)[None, :, None]
    return torch.cat([z.real.square(), z.imag.square()], dim=-1).sum(dim=(0, 1))


# Type III: value and output


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_factors_lose_only_the_smallest_singular_values(rank: int):
    V, reader = random(40, 6), random(9, 6, seed=1)  # values of 40 tokens
    A, B = factors(V.T @ V, reader.T @ reader, rank)
    lost = ((V - V @ A.T @ B.T) @ reader.T).square().sum()
    dropped = torch.linalg.svdvals(V @ reader.T)[rank:].square().sum()
    torch.testing.assert_close(lost, dropped, rtol=1e-8, atol=1e-8)
    scale = (V @ A.T).square().mean() / V.square().mean()  # for half precision
    assert 0.5 < scale < 2


def test_factors_of_few_or_no_values_are_finite():
    for V in (random(2, 6), torch.zeros(3, 6, dtype=torch.float64)):
        A, B = factors(V.T @ V, torch.eye(6, dtype=torch.float64), 4)
        assert A.isfinite().all()
        assert B.isfinite().all()
        torch.testing.assert_close(V @ A.T @ B.T, V)


@rotating
def test_factors_of_full_rank_change_nothing(family: str):
    model, tokens = tiny_model(family), random_tokens()
    before = logits(model, tokens)
    for block in model.blocks:
        X = inputs(model, block.attention.v, tokens).float()
        shrink_values(block, X.T @ X, block.attention.head_size, 0.01)
    torch.testing.assert_close(logits(model, tokens), before, rtol=1e-3, atol=1e-3)


# Whole models


@rotating
def test_every_module_follows_from_the_dense_model(family: str):
    pruned, tokens = tiny_model(family, blocks=3), random_tokens(samples=12)
    dense = copy.deepcopy(pruned)
    method = MoDeGPT(sparsity=0.4, temperature=1.0, ridge=0.3)
    details = method.apply(pruned, tokens).details
    for index, (now, was) in enumerate(zip(pruned.blocks, dense.blocks, strict=True)):
        attention, size = was.attention, was.attention.head_size
        heads, group = attention.kv_heads, attention.group

        # Type II: the same pairs in a key head and its query heads, with their weights.
        queries = energies(dense, index, "q", tokens).view(heads, group, 2, size // 2)
        keys = energies(dense, index, "k", tokens).view(heads, 1, 2, size // 2)
        scores = (queries * keys).sum(dim=(1, 2))  # [kv heads, h]
        count = details["pairs"][index]
        best = scores.topk(count).indices.sort().values  # [kv heads, pairs]
        dims = torch.cat([best, best + size // 2], dim=1)  # [kv heads, 2 * pairs]
        rows = (torch.arange(heads)[:, None] * size + dims).flatten()
        assert now.attention.k.rows.tolist() == rows.tolist()
        assert torch.equal(now.attention.k.weight, attention.k.weight[rows])
        rows = (torch.arange(heads * group).view(heads, group, 1) * size + dims[:, None]).flatten()
        assert now.attention.q.rows.tolist() == rows.tolist()

        # Type III: the product of value and output of every KV head is of the best rank.
        X = inputs(dense, attention.v, tokens)
        C = damped(X.T @ X)
        left = details["values"][index]
        assert now.attention.v.weight.shape[0] == heads * left
        new_v = now.attention.v.weight.double().view(heads, left, -1)
        new_o = now.attention.o.weight.double().view(-1, heads, group, left)
        old_v = attention.v.weight.double().view(heads, size, -1)
        old_o = attention.o.weight.double().view(-1, heads, group, size)
        for head in range(heads):
            product = torch.einsum("sx,dgs->xgd", old_v[head], old_o[:, head]).flatten(1)
            shrunk = torch.einsum("sx,dgs->xgd", new_v[head], new_o[:, head]).flatten(1)
            U, S, P = torch.linalg.svd(root(C) @ product, full_matrices=False)
            ours = root(C) @ shrunk
            theirs = U[:, :left] * S[:left] @ P[:left]
            assert float((ours - theirs).norm() / theirs.norm()) < 1e-3

        # Type I: the channels of highest leverage, and the refit.
        X = inputs(dense, was.feed_forward.down, tokens)
        C = X.T @ X
        scores = torch.diag(C @ torch.linalg.inv(damped(C, 0.3)))
        keep = scores.topk(details["channels"][index]).indices.sort().values
        assert torch.equal(now.feed_forward.up.weight, was.feed_forward.up.weight[keep])
        W, H = was.feed_forward.down.weight.double(), damped(C)
        expected = torch.linalg.solve(H[keep][:, keep], (W @ H)[:, keep].T).T.float()
        torch.testing.assert_close(now.feed_forward.down.weight, expected, rtol=1e-3, atol=1e-4)


def test_shares_follow_the_influence_and_are_those_of_every_module():
    model, tokens = tiny_model(blocks=4, intermediate_size=400), random_tokens()
    states: list[Tensor] = []
    for layer in model.layers:
        layer.register_forward_pre_hook(lambda _, args: states.append(args[0]))
    model.layers[-1].register_forward_hook(lambda _, args, out: states.append(out))
    logits(model, tokens)
    influence = [float(cosine_distance(x, y).mean()) for x, y in itertools.pairwise(states)]
    details = MoDeGPT(sparsity=0.3, temperature=0.5).apply(model, tokens).details
    assert details["influence"] == pytest.approx(influence, abs=1e-6)
    shares = 0.3 * layer_shares(torch.tensor(influence, dtype=torch.float64), 0.5)
    lost = 1 - torch.tensor(details["channels"]) / 400
    torch.testing.assert_close(lost.double(), shares, rtol=0, atol=0.03)  # absorbs the rounding
    for name, size in (("pairs", 4), ("values", 8)):
        lost = size - torch.tensor(details[name])
        assert float((lost - size * shares).abs().max()) < 1.01  # the remainder is carried over


@pytest.mark.model
def test_on_real_blocks_it_beats_random_removal(first_blocks):
    ours = first_blocks.error("modegpt", sparsity=0.2, temperature=1e9, damping=0.1)
    assert 0 < ours < first_blocks.error("random", sparsity=0.2) / 2
