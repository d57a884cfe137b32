"""SoBP: importance, selection, search, fit, whole models, a real model."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import Tensor, nn

from implementations.harness import (
    BadInput,
    LanguageModel,
    Tokens,
    damped_inverse,
    eliminate,
    keep_channels,
    keep_kv_groups,
    smallest,
    walk,
)
from implementations.harness.contract.helpers import logits
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.harness.prune.refit import refit
from implementations.sobp import SoBP
from implementations.sobp.benchmark_sobp import plain
from implementations.sobp.least_squares import cheapest_in_turn, refit_to
from implementations.sobp.sobp import candidates, columns, knapsack
from tests.observation import inputs
from tests.one_layer import damped, layer_error

pytestmark = pytest.mark.usefixtures("without_gradients")

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))
double = torch.float64
KINDS = ("kv-groups", "channels")


def problem(seed: int = 0, width: int = 48, out: int = 12, tokens: int = 200):
    """Return weights `[out, width]` and the Gram matrix of correlated inputs, fp64."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=generator, dtype=double)
    X = torch.randn(tokens, width, generator=generator, dtype=double) @ mix
    return torch.randn(out, width, generator=generator, dtype=double), X.T @ X


def corrected(W: Tensor, H: Tensor, removed: Tensor, damping: float = 0.01) -> Tensor:
    """Return the weight without some columns, with the others corrected."""
    V = W.clone()
    eliminate(V, damped_inverse(H, damping), removed)
    return V


def losses(model: LanguageModel, tokens: Tokens) -> Tensor:
    """Return the mean loss of every sample, `[samples]`, from the model's own logits."""
    likely = logits(model, tokens)[:, :-1].double().log_softmax(dim=-1)
    return -likely.gather(2, tokens.ids[:, 1:, None]).mean(dim=(1, 2))


def reader(model: LanguageModel, index: int, kind: str) -> nn.Linear:
    block = model.blocks[index]
    return block.attention.o if kind == "kv-groups" else block.feed_forward.down


def slopes(model: LanguageModel, tokens: Tokens, index: int, kind: str, step: float) -> Tensor:
    """Return finite differences of the loss for the mask of every unit, `[samples, units]`."""
    reads, rows = reader(model, index, kind), []
    places = columns(model.blocks[index], kind)
    for unit in places:
        ends = []
        for sign in (1, -1):
            was = reads.weight.clone()
            reads.weight[:, unit] *= 1 + sign * step
            ends.append(losses(model, tokens))
            reads.weight.copy_(was)
        rows.append((ends[0] - ends[1]) / (2 * step))
    return torch.stack(rows, dim=1)


# Stage 1: importance


# ReLU has kinks, and the norms of the others round to fp32.
@pytest.mark.parametrize(("family", "step"), [("llama", 1e-2), ("qwen3", 1e-2), ("opt", 1e-5)])
@pytest.mark.parametrize("importance", ["first-order", "fisher"])
def test_scores_are_mean_absolute_slopes_of_samples(family: str, step: float, importance: str):
    model, tokens = tiny_model(family, dtype=double), random_tokens(samples=3)
    scores = SoBP(importance=importance).scores(model, tokens)
    for (index, kind), score in zip(itertools.product((0, 1), KINDS), scores, strict=True):
        slope = slopes(model, tokens, index, kind, step)
        size = slope.abs() if importance == "first-order" else slope.square()
        torch.testing.assert_close(
            score, size.mean(dim=0), rtol=0, atol=2e-3 * float(size.mean(dim=0).max())
        )


def test_chunks_do_not_matter(monkeypatch):
    model, tokens = tiny_model(), random_tokens(samples=7)
    whole = SoBP().scores(model, tokens)
    monkeypatch.setattr("implementations.sobp.sobp.CHUNK", 3)
    for a, b in zip(whole, SoBP().scores(model, tokens), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-8)


# Stage 1: selection


def best_by_force(scores: list[Tensor], prices: list[int], budget: float) -> float:
    """Return the most importance of all subsets that keep a unit of each module, within budget."""
    units = [(m, float(s), prices[m % 2]) for m, scored in enumerate(scores) for s in scored]
    most = -1.0
    for kept in itertools.product((False, True), repeat=len(units)):
        chosen = [unit for unit, keep in zip(units, kept, strict=True) if keep]
        spent = sum(price for _, _, price in chosen)
        unused = budget - spent
        if 0 <= unused <= max(prices) / 2 and len({m for m, _, _ in chosen}) == len(scores):
            most = max(most, sum(score for _, score, _ in chosen))
    return most


@pytest.mark.parametrize("seed", range(12))
def test_the_choice_is_the_best_of_all_subsets(seed: int):
    generator = torch.Generator().manual_seed(seed)
    prices = [5, 1] if seed % 2 else [4, 2]
    scores = [
        torch.rand(size, generator=generator, dtype=double) * scale
        for size, scale in ((2, 3.0), (5, 1.0), (2, 0.5), (4, 2.0))
    ]
    total = 4 * prices[0] + 9 * prices[1]
    for share in (0.1, 0.25, 0.4, 0.55):
        budget = (1 - share) * total
        kept = knapsack(scores, prices, budget)
        assert all(bool(mask.any()) for mask in kept)
        spent = sum(int(mask.sum()) * prices[m % 2] for m, mask in enumerate(kept))
        assert 0 <= budget - spent <= max(prices) / 2
        value = sum(float(s[mask].sum()) for s, mask in zip(scores, kept, strict=True))
        assert value == pytest.approx(best_by_force(scores, prices, budget))


# Stage 2: the search


def test_candidates_are_removed_units_and_the_next_lowest():
    importance = torch.tensor([5.0, 1.0, 0.5, 3.0, 2.0, 4.0])
    removed = torch.tensor([False, True, True, False, False, False])
    assert candidates(importance, removed, 0).tolist() == removed.tolist()
    assert candidates(importance, removed, 0.5).nonzero().flatten().tolist() == [1, 2, 4]
    assert candidates(importance, removed, 1).nonzero().flatten().tolist() == [1, 2, 3, 4]
    assert candidates(importance, removed, 1e9).all()


@pytest.mark.parametrize(
    ("width", "count", "pool"), [(1, 20, 48), (1, 13, 26), (4, 7, 12), (8, 3, 6), (8, 5, 6)]
)
def test_search_equals_a_plain_search(width: int, count: int, pool: int):
    for seed in range(3):
        W, H = problem(seed)
        units = torch.arange(48).view(-1, width)[torch.randperm(48 // width)[:pool]]
        inverse = damped_inverse(H, 0.01)
        before = W.clone(), inverse.clone()
        order = cheapest_in_turn(W, inverse, units, count)
        assert torch.equal(W, before[0])
        assert torch.equal(inverse, before[1])
        V = W.clone()
        slow, paid = plain(V, inverse, units, count)
        assert order.tolist() == slow
        # In steps or at once: the weights, and what they cost in the damped Hessian.
        removed = units[order].flatten()
        torch.testing.assert_close(corrected(W, H, removed), V, rtol=1e-7, atol=1e-9)
        own = torch.linalg.inv(torch.linalg.inv(damped(H))[removed][:, removed])
        joint = torch.trace(W[:, removed] @ own @ W[:, removed].T)
        torch.testing.assert_close(paid.sum(), joint)
        assert layer_error(W, V, damped(H)) == pytest.approx(float(joint))
        keep = torch.ones(48, dtype=torch.bool)
        keep[removed] = False
        torch.testing.assert_close(V[:, keep], refit(W, H, keep, 0.01), rtol=1e-7, atol=1e-9)


# Stage 3: the fit, and whole models


def kept_units(model: LanguageModel, dense: LanguageModel, index: int, kind: str) -> Tensor:
    """Return the remaining units of the dense block, by their rows of v or up."""
    now, was = model.blocks[index], dense.blocks[index]
    if kind == "channels":
        now, was, size = now.feed_forward.up, was.feed_forward.up, 1
    else:
        now, was, size = now.attention.v, was.attention.v, was.attention.head_size
    rows = [row.flatten() for row in now.weight.split(size)]
    return torch.tensor([any(map(row.flatten().equal, rows)) for row in was.weight.split(size)])


def spliced(model: LanguageModel, dense: LanguageModel, index: int, kind: str) -> LanguageModel:
    """Return a model that is pruned before a module and dense from it on."""
    twin = copy.deepcopy(model)
    for i in range(index, len(model.blocks)):
        twin.layers[i] = copy.deepcopy(dense.layers[i])
    if kind == "channels":
        name = model.family.attention
        setattr(twin.layers[index], name, copy.deepcopy(model.layers[index].get_submodule(name)))
    return twin


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma3", "opt"])
@pytest.mark.parametrize("refine", [True, False])
def test_each_module_is_fitted_to_the_dense_one(family: str, refine: bool):
    model, tokens = tiny_model(family, blocks=3), random_tokens(samples=12)
    dense = copy.deepcopy(model)
    SoBP(sparsity=0.3, refine=refine, restraint=0.05).apply(model, tokens)
    for index, kind in itertools.product(range(3), KINDS):
        was, now = (reader(each, index, kind) for each in (dense, model))
        twin = spliced(model, dense, index, kind)
        X = inputs(twin, reader(twin, index, kind), tokens)  # of the pruned model so far
        Y = inputs(dense, was, tokens) @ was.weight.double().T  # of the dense one
        units, keep = columns(dense.blocks[index], kind), kept_units(model, dense, index, kind)
        kept = units[keep].flatten()
        W = was.weight.double()
        if refine:
            W = corrected(W, X.T @ X, units[~keep].flatten())
        W, X = W[:, kept], X[:, kept]
        mu = 0.05 * X.square().sum(dim=0).mean()
        expected = (Y.T @ X + mu * W) @ torch.linalg.inv(X.T @ X + mu * torch.eye(len(kept)))
        torch.testing.assert_close(now.weight.double(), expected, rtol=1e-3, atol=1e-3)
        assert now.bias is None or torch.equal(now.bias, was.bias)


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_without_fit_modules_are_corrected(family: str):
    model, tokens = tiny_model(family), random_tokens(samples=12)
    dense = copy.deepcopy(model)
    SoBP(sparsity=0.3, reconstruct=False, damping=0.05).apply(model, tokens)
    for index, kind in itertools.product(range(2), KINDS):
        twin = spliced(model, dense, index, kind)
        X = inputs(twin, reader(twin, index, kind), tokens)
        units, keep = columns(dense.blocks[index], kind), kept_units(model, dense, index, kind)
        W = reader(dense, index, kind).weight.double()
        W = corrected(W, X.T @ X, units[~keep].flatten(), 0.05)
        now = reader(model, index, kind).weight.double()
        torch.testing.assert_close(now, W[:, units[keep].flatten()], rtol=1e-3, atol=1e-4)


@every_family
def test_first_stage_alone_removes_the_lowest_scores(family: str):
    tokens, dense = random_tokens(), tiny_model(family, blocks=3)
    model, twin = (copy.deepcopy(dense) for _ in range(2))
    method = SoBP(sparsity=0.3, refine=False, reconstruct=False)
    outcome = method.apply(model, tokens)
    chosen = iter(method.choices(dense, tokens))
    for block in twin.blocks:
        keep_kv_groups(block.attention, ~next(chosen)[0])
        keep_channels(block.feed_forward, ~next(chosen)[0])
    for (_, _, a), (_, _, b) in zip(model.linears(), twin.linears(), strict=True):
        assert torch.equal(a.weight, b.weight)
    exchanged = outcome.details["kv_groups_exchanged"] + outcome.details["channels_exchanged"]
    assert exchanged == [0] * 6


@pytest.mark.parametrize("family", ["llama", "gemma3", "opt"])
def test_search_does_not_change_the_number_of_units(family: str):
    tokens, dense = random_tokens(samples=12), tiny_model(family, blocks=3)
    widths, units, exchanged = [], [], []
    for pool in (0, 1, 1e9):
        model = copy.deepcopy(dense)
        outcome = SoBP(sparsity=0.3, pool=pool).apply(model, tokens)
        widths.append((outcome.details["kv_groups"], outcome.details["channels"]))
        places = itertools.product(range(3), KINDS)
        units.append(torch.cat([kept_units(model, dense, *place) for place in places]))
        exchanged.append(
            sum(outcome.details["kv_groups_exchanged"] + outcome.details["channels_exchanged"])
        )
    assert widths[0] == widths[1] == widths[2]
    removed, pool = map(torch.cat, zip(*SoBP(sparsity=0.3).choices(dense, tokens), strict=True))
    assert torch.equal(units[0], ~removed)
    assert exchanged[0] == 0 < min(exchanged[1:])
    for kept, count in zip(units, exchanged, strict=True):
        assert int((removed & kept).sum()) == int((~removed & ~kept).sum()) == count
    assert bool((pool | units[1]).all())  # what went instead was among the least important
    assert not bool((pool | units[2]).all())


def test_searched_channels_cost_less_on_average_than_those_of_stage_one():
    ratios = []
    for seed in (0, 1):
        dense, tokens = tiny_model(blocks=3, seed=seed), random_tokens(samples=12, seed=seed)
        model, method = copy.deepcopy(dense), SoBP(sparsity=0.3, reconstruct=False)
        chosen = [removed for removed, _ in method.choices(dense, tokens)[1::2]]
        method.apply(model, tokens)
        for index in range(3):
            twin = spliced(model, dense, index, "channels")
            down = twin.blocks[index].feed_forward.down
            X, W = inputs(twin, down, tokens), down.weight.double()
            H = X.T @ X
            searched = ~kept_units(model, dense, index, "channels")
            first, final = (
                layer_error(W, corrected(W, H, removed.nonzero().flatten()), damped(H))
                for removed in (chosen[index], searched)
            )
            ratios.append(final / first)
    assert sum(ratios) / len(ratios) < 0.95


def test_one_of_two_identical_channels_is_removed_without_error():
    model, tokens = tiny_model(), random_tokens(samples=12)
    feed_forward = model.blocks[0].feed_forward
    for linear in feed_forward.inner:
        linear.weight[7] = linear.weight[3]
    feed_forward.down.weight[:, [3, 7]] *= 5
    before, method = logits(model, tokens), SoBP(reconstruct=False, damping=1e-6)
    lowest = smallest(method.scores(model, tokens)[1], 1)
    assert not lowest[[3, 7]].any()  # the gradients see two important channels
    for block in walk(model, tokens):
        if block.index == 0:
            removed = method.cut(block, "channels", lowest, torch.ones(48, dtype=torch.bool))
    assert removed.nonzero().flatten().tolist() in ([3], [7])
    torch.testing.assert_close(logits(model, tokens), before, rtol=1e-4, atol=1e-4)


@every_family
def test_without_selection_every_block_loses_the_same(family: str):
    # Local Optimal Brain Surgeon: no gradient decides, and the search sees all units.
    model, tokens = tiny_model(family, blocks=3), random_tokens(samples=12)
    dense, method = copy.deepcopy(model), SoBP(sparsity=0.3, select=False, reconstruct=False)
    outcome = method.apply(model, tokens)
    lost = method.widths(dense, torch.ones(3))
    assert [48 - lost[i][1] for i in range(3)] == outcome.details["channels"]
    assert "channels_exchanged" not in outcome.details
    twin = spliced(model, dense, 0, "channels")
    X = inputs(twin, twin.blocks[0].feed_forward.down, tokens)
    W, everything = twin.blocks[0].feed_forward.down.weight.double(), torch.arange(48).view(-1, 1)
    order, _ = plain(W, damped_inverse(X.T @ X, 0.01), everything, lost[0][1])
    removed = (~kept_units(model, dense, 0, "channels")).nonzero().flatten()
    assert sorted(order) == removed.tolist()


def test_one_stage_must_choose_units():
    with pytest.raises(BadInput, match="no stage chooses units"):
        SoBP(select=False, refine=False).apply(tiny_model(), random_tokens())


@pytest.mark.model
def test_on_real_blocks_squared_slopes_beat_first_order_scores(first_blocks):
    # The slope of a group is a sum over many channels: its square grows with them, as its price.
    alone = {"sparsity": 0.2, "refine": False, "reconstruct": False}
    squares = first_blocks.error("sobp", **alone)
    sizes = first_blocks.error("sobp", importance="first-order", **alone)
    assert 0 < squares < sizes
    assert squares < first_blocks.error("random", sparsity=0.2)


# Stage 3, the fit


@pytest.mark.parametrize("damping", [0.0, 0.1])
def test_the_fit_is_damped_least_squares(damping: float):
    generator = torch.Generator().manual_seed(2)
    X, Y, W = (
        torch.randn(*shape, generator=generator, dtype=double)
        for shape in ((24, 200), (16, 200), (16, 24))
    )
    X[9] = 0  # a silent input keeps its weights
    G = X @ X.T
    drawn = damping * G.diagonal().mean() * torch.eye(24, dtype=double)
    drawn[9, 9] += 1
    system = torch.cat([X.T, drawn.sqrt()])
    expected = torch.linalg.lstsq(system, torch.cat([Y.T, drawn.sqrt() @ W.T])).solution.T
    V = refit_to(W, G, Y @ X.T, damping)
    torch.testing.assert_close(V, expected, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(V[:, 9], W[:, 9])
