"""SlimLLM: correlations, linear corrections, whole models, a real model."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from implementations.harness import LanguageModel, walk
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.slimllm import SlimLLM, slimllm
from implementations.slimllm.covariance import Covariance
from implementations.slimllm.slimllm import (
    channel_scores,
    greedy_swaps,
    regression,
    shared_variance,
    similarity,
)

pytestmark = pytest.mark.usefixtures("without_gradients")

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))
double = torch.float64
UNITS, WIDTH, OUT, TOKENS = 5, 3, 7, 60


def covariance(x: Tensor) -> Covariance:
    """Return mean and covariance of tokens `[tokens, features]`."""
    seen = Covariance(x.shape[1])
    seen.update(x)
    return seen


def layer(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return correlated inputs `[tokens, units * width]` with means, and a weight, fp64."""
    generator = torch.Generator().manual_seed(seed)
    n = UNITS * WIDTH
    x = torch.randn(TOKENS, n, generator=generator, dtype=double)
    x = x @ torch.randn(n, n, generator=generator, dtype=double) + torch.arange(n)
    return x, torch.randn(OUT, n, generator=generator, dtype=double)


def contributions(x: Tensor, weight: Tensor) -> Tensor:
    """Return the contribution of every unit to the output, `[units, tokens, out]`."""
    return torch.stack(
        [x[:, s : s + WIDTH] @ weight[:, s : s + WIDTH].T for s in range(0, x.shape[1], WIDTH)]
    )


def pearson(one: Tensor, other: Tensor) -> float:
    """Sum the absolute Pearson correlations of the columns of `[tokens, out]`."""
    return sum(
        abs(float(np.corrcoef(a, b)[0, 1]))
        for a, b in zip(one.T.numpy(), other.T.numpy(), strict=True)
    )


def units_left(now: nn.Linear, dense: nn.Linear, width: int = 1) -> Tensor:
    """Mark the remaining units of a dense layer, by their `width` rows, `[units]`."""
    rows = torch.tensor([any(map(row.equal, now.weight)) for row in dense.weight])
    return rows.view(-1, width).all(dim=1)


# Heads


def test_similarity_is_the_sum_of_absolute_pearson_correlations():
    x, W = layer()
    C = contributions(x, W)
    shared = shared_variance(W, covariance(x).matrix, UNITS)
    for kept in ([0, 1, 2, 3], [2], [0, 4], [0, 1, 2, 3, 4]):
        expected = pearson(C[kept].sum(0), C.sum(0))
        assert similarity(shared, kept) == pytest.approx(expected, rel=1e-9)


def test_constant_output_adds_nothing():
    x, W = layer()
    W[4] = 0
    C = contributions(x, W)
    shared = shared_variance(W, covariance(x).matrix, UNITS)
    varies = [j for j in range(OUT) if j != 4]
    expected = pearson(C[[0, 2]].sum(0)[:, varies], C.sum(0)[:, varies])
    assert similarity(shared, [0, 2]) == pytest.approx(expected, rel=1e-9)


def by_the_paper(C: Tensor, count: int) -> list[int]:
    """Run Algorithm 1 on tokens, step by step."""
    O = C.sum(0)  # noqa: E741
    order = sorted(range(len(C)), key=lambda u: -pearson(O - C[u], O))
    dropped, kept = order[:count], order[count:]
    best = pearson(C[kept].sum(0), O)
    for u in dropped:
        best_kept = kept
        for v in range(len(kept)):
            other = list(kept)
            other[v] = u
            value = pearson(C[other].sum(0), O)
            if value > best:
                best, best_kept = value, other
        kept = best_kept
    return kept


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_search_is_that_of_algorithm_1(count: int):
    improved = 0
    for seed in range(20):
        x, W = layer(seed)
        C = contributions(x, W)
        shared = shared_variance(W, covariance(x).matrix, UNITS)
        kept = greedy_swaps(shared, count)
        assert kept == by_the_paper(C, count)
        assert len(kept) == len(set(kept)) == UNITS - count
        missed = [similarity(shared, [v for v in range(UNITS) if v != u]) for u in range(UNITS)]
        start = sorted(range(UNITS), key=lambda u: -missed[u])[count:]
        assert similarity(shared, kept) >= similarity(shared, start)
        improved += sorted(kept) != sorted(start)
    assert improved > 0 or count == 1  # the swaps are not idle


@pytest.mark.parametrize("unit", range(UNITS))
def test_unit_with_zero_output_weights_is_removed_first_without_change(unit: int):
    x, W = layer()
    keep = torch.arange(UNITS * WIDTH) // WIDTH != unit
    W *= keep
    shared = shared_variance(W, covariance(x).matrix, UNITS)
    kept = greedy_swaps(shared, 1)
    assert sorted(kept) == [other for other in range(UNITS) if other != unit]
    assert similarity(shared, kept) == pytest.approx(OUT)
    scale, offset = regression(W, covariance(x), keep)
    torch.testing.assert_close(scale, torch.ones_like(scale))
    torch.testing.assert_close(offset, torch.zeros_like(offset))


# Channels


def small_feed_forward() -> tuple[LanguageModel, Tensor]:
    model = tiny_model("llama")
    x = torch.randn(50, 48, generator=torch.Generator().manual_seed(3), dtype=double)
    return model, x * torch.linspace(0.1, 3, 48) + 0.5


def test_channel_scores_against_the_formula():
    model, x = small_feed_forward()
    feed_forward = model.blocks[0].feed_forward
    norms = torch.linspace(1, 2, 32)
    W = feed_forward.down.weight.double()
    Y = x @ W.T
    centred = Y - Y.mean(dim=0)
    variances, axes = torch.linalg.eigh(centred.T @ centred)
    g = torch.sigmoid(variances.abs() / variances.abs().mean())
    for j, score in enumerate(channel_scores(feed_forward, norms, covariance(x))):
        G = (feed_forward.gate.weight[j] * norms).norm()
        U = (feed_forward.up.weight[j] * norms).norm()
        D = x[:, j].norm() * sum((g[k] * (W[:, j] @ axes[:, k])) ** 2 for k in range(32)).sqrt()
        assert float(score) == pytest.approx(float(G + U + D), rel=1e-5)


@pytest.mark.parametrize("share", [0.3, 0.962])
def test_keeps_the_lowest_one_percent_of_channels(share: float):
    model, tokens = tiny_model("llama", intermediate_size=480), random_tokens()
    dense = copy.deepcopy(model)
    SlimLLM(sparsity=share, layers=1, alpha=0).apply(model, tokens)
    # What the first block's channels score behind the pruned attention.
    block = dense.blocks[0]
    block.module.self_attn = copy.deepcopy(model.blocks[0].module.self_attn)
    seen = next(walk(dense, tokens, edits=False)).observe(Covariance, "gate", "down")
    norms = (seen["gate"].matrix.diagonal() + seen["gate"].mean.square()).mul(seen["gate"].count)
    scores = channel_scores(block.feed_forward, norms.sqrt().float(), seen["down"])
    left = units_left(model.blocks[0].feed_forward.up, block.feed_forward.up)
    stay = int(left.sum())
    assert (1 < stay < 5) if share > 0.9 else (5 < stay < 480)
    lowest = min(5, stay)  # round(0.01 * 480), where the budget leaves as many
    order = scores.argsort().tolist()
    kept = {*order[:lowest], *order[lowest + 480 - stay :]}
    assert set(left.nonzero().flatten().tolist()) == kept


# Linear corrections


def test_a_line_is_that_of_polyfit():
    x, W = layer()
    W0 = W.clone()
    keep = torch.tensor([1, 0, 1, 1, 0]).repeat_interleave(WIDTH)
    scale, offset = regression(W, covariance(x), keep)
    Z, Y = x @ (W * keep).T, x @ W.T
    for j in range(OUT):
        a, b = np.polyfit(Z[:, j].numpy(), Y[:, j].numpy(), 1)
        assert (float(scale[j]), float(offset[j])) == pytest.approx((a, b), rel=1e-8)
        rho = float(np.corrcoef(Z[:, j], Y[:, j])[0, 1])
        left = float((Y[:, j] - a * Z[:, j] - b).square().mean())
        assert left == pytest.approx(float(Y[:, j].var(correction=0)) * (1 - rho**2), rel=1e-6)
    assert torch.equal(W, W0)


def test_output_without_remaining_weights_becomes_its_mean():
    x, W = layer()
    keep = torch.ones(UNITS * WIDTH)
    keep[:WIDTH] = 0
    W[3, WIDTH:] = 0  # all of output 3 goes
    scale, offset = regression(W, covariance(x), keep)
    assert float(scale[3]) == 1
    assert float(offset[3]) == pytest.approx(float((x @ W.T).mean(dim=0)[3]))
    assert scale.isfinite().all()


def test_removed_constant_input_becomes_the_bias():
    x, W = layer()
    x[:, 4] = 2.5
    keep = torch.arange(UNITS * WIDTH) != 4
    linear = nn.Linear(UNITS * WIDTH, OUT, bias=False, dtype=double)
    linear.weight.copy_(W)
    SlimLLM().correct(linear, covariance(x), keep)
    torch.testing.assert_close(linear.weight, W)
    torch.testing.assert_close(linear.bias, 2.5 * W[:, 4])
    torch.testing.assert_close(linear(x * keep), x @ W.T)


# Ratios


def test_shares_by_hand():
    s = torch.tensor([0.95, 0.97, 0.99, 0.96, 0.90], dtype=double)
    shares = SlimLLM(layers=1).shares(s)
    assert (0.25 * 5 * shares).tolist() == pytest.approx(
        [0.230, 0.281, 0.344, 0.255, 0.140], abs=6e-4
    )
    assert float(shares.sum()) == pytest.approx(1)
    even = SlimLLM(layers=1, alpha=0).shares(s)
    assert even.tolist() == pytest.approx([0.2] * 5)
    three = SlimLLM(layers=0.6).shares(s)
    assert [share > 0 for share in three] == [False, True, True, True, False]
    assert three[2] > three[1] > three[3]
    assert int((SlimLLM().shares(torch.linspace(0.9, 1, 32, dtype=double)) > 0).sum()) == 26


def test_similarity_is_the_cosine_before_and_after_a_block():
    model, tokens = tiny_model("llama", blocks=3), random_tokens()
    states = model.hf(input_ids=tokens.ids, output_hidden_states=True).hidden_states
    expected = [
        float(cosine_similarity(states[i].double(), states[i + 1].double(), dim=-1).mean())
        for i in range(2)  # what is kept of the last block is behind the final norm
    ]
    similar = SlimLLM(sparsity=0.3).apply(model, tokens).details["similarity"]
    assert similar[:2] == pytest.approx(expected, abs=1e-6)


@every_family
def test_protects_blocks_that_change_the_direction_most(family: str):
    model = tiny_model(family, blocks=4)
    dense = copy.deepcopy(model)
    outcome = SlimLLM(sparsity=0.2, layers=0.5).apply(model, random_tokens())
    similar = outcome.details["similarity"]
    most = sorted(range(4), key=lambda i: similar[i])[:2]
    for index in range(4):
        one, other = model.blocks[index], dense.blocks[index]
        widths = (one.attention.kv_heads, one.feed_forward.channels)
        if index in most:
            assert widths == (other.attention.kv_heads, other.feed_forward.channels)
            assert all(
                torch.equal(a, b)
                for a, b in zip(one.module.parameters(), other.module.parameters(), strict=True)
            )
        else:
            assert widths != (other.attention.kv_heads, other.feed_forward.channels)


# Whole models


@pytest.mark.parametrize("family", ["llama", "qwen2", "opt"])
def test_corrections_are_fitted_on_the_pruned_model(family: str):
    model, tokens = tiny_model(family, num_key_value_heads=2), random_tokens(samples=12)
    dense = copy.deepcopy(model)
    SlimLLM(sparsity=0.4, layers=1, alpha=0).apply(model, tokens)
    for index, block in enumerate(model.blocks):
        # The same pruned stream before it, the block itself dense.
        twin = copy.deepcopy(model)
        twin.layers[index] = copy.deepcopy(dense.layers[index])
        was = twin.blocks[index]
        groups = units_left(block.attention.v, was.attention.v, block.attention.head_size)
        channels = units_left(block.feed_forward.up, was.feed_forward.up)
        for role, units in (("o", groups), ("down", channels)):
            if role == "down":  # behind the pruned attention
                twin.layers[index].self_attn = copy.deepcopy(block.module.self_attn)
            looks = [one.observe(Covariance, role) for one in walk(twin, tokens, edits=False)]
            seen = looks[index][role]
            now, old = block.linears()[role], twin.blocks[index].linears()[role]
            W, V = old.weight.double(), torch.zeros(old.weight.shape, dtype=double)
            V[:, units.repeat_interleave(old.in_features // len(units))] = now.weight.double()
            offset = now.bias.double() - (0 if old.bias is None else old.bias.double())
            assert not units.all()
            if role == "o":
                shared = shared_variance(W, seen.matrix, len(units))
                kept = greedy_swaps(shared, int((~units).sum()))
                assert sorted(kept) == units.nonzero().flatten().tolist()
            # The fit passes through the means, and its residual and prediction are uncorrelated.
            torch.testing.assert_close(V @ seen.mean + offset, W @ seen.mean, rtol=0, atol=1e-5)
            together = ((V @ seen.matrix) * (W - V)).sum(dim=1)
            torch.testing.assert_close(together, torch.zeros_like(together), rtol=0, atol=1e-5)


def test_a_group_counts_at_least_as_much_as_those_removed_before_it(monkeypatch):
    similarities = iter([1.0, 0.2, 0.9, 0.0])  # without 0, 1, 2 and 3 groups; two of them cancel
    monkeypatch.setattr(slimllm, "similarity", lambda *_: next(similarities))
    monkeypatch.setattr(slimllm, "greedy_swaps", lambda *_: [])
    losses = slimllm.group_losses(torch.ones(3, 3, 2, dtype=torch.float64))
    assert losses.tolist() == pytest.approx([0.8, 0.8, 0.9])


@pytest.mark.parametrize("regress", [True, False])
def test_only_corrections_add_a_bias(regress: bool):
    model = tiny_model()
    SlimLLM(sparsity=0.4, layers=1, regress=regress).apply(model, random_tokens(samples=12))
    assert (model.blocks[0].feed_forward.down.bias is not None) == regress


@pytest.mark.model
def test_on_real_blocks_corrections_help_and_the_first_block_is_protected(first_blocks):
    errors = []
    for regress in (True, False):
        pruned = first_blocks.pruned("slimllm", sparsity=0.2, layers=0.75, regress=regress)
        errors.append(float((first_blocks.run(pruned) - first_blocks.outputs).square().sum()))
    assert 0 < errors[0] < errors[1]
    widths = [block.feed_forward.channels for block in pruned.blocks]
    assert widths[0] == 1536  # the first block turns the stream most
    assert max(widths[1:]) < 1536
