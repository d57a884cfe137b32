"""OSSCAR: costs by brute force, the search, whole models, a real model."""

from __future__ import annotations

import copy
from itertools import combinations

import pytest
import torch
from torch import Tensor

from implementations.harness import damped_factor, keep_units
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.osscar import OSSCAR, osscar
from implementations.osscar.osscar import (
    READERS,
    columns,
    fit,
    removal_costs,
    remove,
    steps,
    swap,
    without_silent_inputs,
)
from tests.observation import inputs

pytestmark = pytest.mark.usefixtures("without_gradients")

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))


def problem(width: int = 1, seed: int = 0, n: int = 24):
    """Return weights `[9, n]`, a damped Hessian, the target and the units of a random layer."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(n, n, generator=generator, dtype=torch.float64)
    X = torch.randn(4 * n, n, generator=generator, dtype=torch.float64) @ mix
    W = torch.randn(9, n, generator=generator, dtype=torch.float64)
    H = damped(X.T @ X)
    return W, H, W @ H, torch.arange(n).view(-1, width)


def damped(gram: Tensor, damping: float = 0.01) -> Tensor:
    return gram + damping * gram.diagonal().mean() * torch.eye(len(gram))


def best(H: Tensor, G: Tensor, columns: Tensor) -> Tensor:
    """Return the minimum of the error over weights on some columns, `[out, in]`."""
    V, K = torch.zeros_like(G), columns.flatten()
    V[:, K] = torch.linalg.solve(H[K][:, K], G[:, K].T).T
    return V


def error(V: Tensor, H: Tensor, G: Tensor) -> float:
    """Return `tr(V H V^T) / 2 - tr(V G^T)`."""
    return float(((V @ H / 2 - G) * V).sum())


def plain(W: Tensor, H: Tensor, G: Tensor, width: int, sizes: list[int]) -> tuple[Tensor, Tensor]:
    """Remove units by refitting without each one, `sizes` per step; return the fit and the mask."""
    units, left = torch.arange(len(H)).view(-1, width), list(range(len(H) // width))
    for count in sizes:
        errors = [error(best(H, W @ H, units[[k for k in left if k != j]]), H, W @ H) for j in left]
        order = sorted(range(len(left)), key=errors.__getitem__)
        left = [left[i] for i in sorted(order[count:])]
    kept = torch.zeros(len(units), dtype=torch.bool)
    kept[left] = True
    return best(H, G, units[kept]), kept


def removed(W: Tensor, H: Tensor, units: Tensor, count: int, at_once: int) -> Tensor:
    return remove(W.clone(), torch.linalg.inv(H), units, count, at_once)


# Costs and fits


@pytest.mark.parametrize("width", [1, 3])
def test_costs_are_the_exact_changes_of_the_error(width: int):
    W, H, G, units = problem(width)
    everything = error(W, H, G)
    lost = removal_costs(W, torch.linalg.inv(H), units)
    for j, cost in enumerate(lost):
        rest = units[torch.arange(len(units)) != j]
        assert float(cost) == pytest.approx(error(best(H, G, rest), H, G) - everything, rel=1e-7)


def test_fit_is_pulled_to_the_dense_weights():
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(60, 12, generator=generator, dtype=torch.float64)
    W = torch.randn(5, 12, generator=generator, dtype=torch.float64)
    keep = torch.tensor([0, 3, 4, 7, 9])
    for damping in (0.0, 0.5, 1e9):
        H = damped(X.T @ X, damping)
        pull = (damping * float((X.T @ X).diagonal().mean())) ** 0.5 * torch.eye(12).double()
        wide = torch.cat([X[:, keep], pull[:, keep]])
        expected = torch.linalg.lstsq(wide, torch.cat([X, pull]) @ W.T).solution.T
        V, _ = fit(H, W @ H, keep[:, None])
        torch.testing.assert_close(V[:, keep], expected, rtol=1e-6, atol=1e-8)
        assert not V[:, [1, 2, 5, 6, 8, 10, 11]].any()
    torch.testing.assert_close(V[:, keep], W[:, keep], rtol=1e-6, atol=1e-8)


# Removal


def test_steps_have_equal_sizes():
    assert steps(25, 10) == [13, 12]  # not 10, 10, 5
    assert steps(30, 10) == [10, 10, 10]
    assert steps(9, 10) == [9]
    assert steps(3, 1) == [1, 1, 1]
    assert steps(0, 10) == [0]


@pytest.mark.parametrize(
    ("width", "count", "at_once"), [(1, 12, 1), (1, 13, 4), (1, 23, 50), (4, 3, 2), (8, 2, 1)]
)
def test_removal_equals_a_plain_search(width: int, count: int, at_once: int):
    for seed in range(3):
        W, H, G, units = problem(width, seed)
        V, inverse = W.clone(), torch.linalg.inv(H)
        kept = remove(V, inverse, units, count, at_once)
        expected, stay = plain(W, H, G, width, steps(count, at_once))
        assert torch.equal(kept, stay)
        # Weights and inverse have followed every step, so they are those of one fit at the end.
        refitted, rest = fit(H, G, units[kept])
        torch.testing.assert_close(refitted, expected, rtol=1e-7, atol=1e-8)
        torch.testing.assert_close(V, refitted, rtol=1e-7, atol=1e-8)
        torch.testing.assert_close(inverse, rest, rtol=1e-6, atol=1e-12)


def test_copies_of_an_input_are_cheap_until_one_is_removed():
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(50, 6, generator=generator, dtype=torch.float64)
    X[:, 1] = X[:, 0]
    W = torch.ones(3, 6, dtype=torch.float64)
    W[:, 5] = 0.5
    H, units = damped(X.T @ X, 1e-6), torch.arange(6)[:, None]
    assert removed(W, H, units, 2, at_once=2).tolist() == [False, False, True, True, True, True]
    kept = removed(W, H, units, 2, at_once=1)
    assert kept[:2].sum() == 1
    assert not kept[5]
    alone = torch.tensor([0, 2, 3, 4, 5]) if kept[0] else torch.tensor([1, 2, 3, 4, 5])
    V, _ = fit(H, W @ H, alone[:, None])
    torch.testing.assert_close(V[:, alone[0]], 2 * W[:, 0], rtol=1e-4, atol=1e-4)


def test_with_uncorrelated_inputs_the_smallest_units_go_and_the_others_stay():
    W, _, _, units = problem(2)
    H = torch.eye(len(W.T)).double()
    sizes = W[:, units].square().sum(dim=(0, 2))  # [units]
    torch.testing.assert_close(removal_costs(W, H, units), sizes / 2)
    kept = removed(W, H, units, 5, at_once=2)
    assert torch.equal((~kept).nonzero().flatten(), sizes.argsort()[:5].sort().values)
    V, _ = fit(H, W, units[kept])
    torch.testing.assert_close(V[:, units[kept].flatten()], W[:, units[kept].flatten()])


def test_the_search_beats_magnitude_with_a_refit_and_that_beats_magnitude_alone():
    gaps = []
    for seed in range(8):
        W, H, G, units = problem(2, seed)
        large = W.square().sum(dim=0).view(-1, 2).sum(dim=1).argsort()[6:]  # [kept units]
        alone = torch.zeros_like(W)
        alone[:, units[large].flatten()] = W[:, units[large].flatten()]
        refitted = error(best(H, G, units[large]), H, G)
        assert refitted < error(alone, H, G)
        ours = error(best(H, G, units[removed(W, H, units, 6, at_once=1)]), H, G)
        gaps.append(refitted - ours)
    assert sum(gaps) > 0


def test_units_without_an_effect_go_before_the_first_step():
    W, H, _, units = problem(2, seed=1)
    gram = H.clone()
    silent = torch.tensor([6, 7, 20, 21])  # units 3 and 10
    gram[silent], gram[:, silent] = 0, 0
    W[:, silent] = 1e6
    W[0, :4] = 0  # zeros in the first row are not a zero weight
    W[:, 3] = -W[:, 2]  # nor are weights whose sum is zero
    H, _ = damped_factor(gram, 0.01, "layer")
    start = without_silent_inputs(W, gram)
    for count in (1, 2):
        kept = removed(start, H, units, count, at_once=4)
        assert (~kept).nonzero().flatten().tolist() == [3, 10][:count]
    kept = removed(start, H, units, 9, at_once=3)  # then steps of 4 and 3
    assert torch.equal(kept, plain(start, H, start @ H, 2, [2, 4, 3])[1])
    assert not torch.equal(kept, plain(start, H, start @ H, 2, [3, 3, 3])[1])
    V, _ = fit(H, start @ H, units)
    torch.testing.assert_close(V, start, rtol=1e-9, atol=1e-9)
    assert not V[:, silent].any()


# Local search


@pytest.mark.parametrize(("width", "at_once"), [(1, 2), (1, 50), (3, 1), (3, 5)])
def test_a_swap_drops_the_cheapest_and_adds_the_most_useful(width: int, at_once: int):
    for seed in range(4):
        _, H, G, units = problem(width, seed)
        start = torch.arange(len(units)) % 2 == 0
        count = min(at_once, int(start.sum()))
        V, stay = plain_swap(H, G, units, start, count)
        kept = swap(H, G, units, start, at_once, 1)
        better = error(V, H, G) < error(best(H, G, units[start]), H, G)
        assert torch.equal(kept, stay if better else start)


def plain_swap(H: Tensor, G: Tensor, units: Tensor, kept: Tensor, count: int):
    """Swap `count` units by refitting without and with each one; return the fit and the mask."""
    errors = {}
    for j in kept.nonzero().flatten().tolist():
        stay = kept.clone()
        stay[j] = False
        errors[j] = error(best(H, G, units[stay]), H, G)
    kept = kept.clone()
    kept[sorted(errors, key=errors.__getitem__)[:count]] = False
    errors = {}
    for j in (~kept).nonzero().flatten().tolist():
        stay = kept.clone()
        stay[j] = True
        errors[j] = error(best(H, G, units[stay]), H, G)
    kept[sorted(errors, key=errors.__getitem__)[:count]] = True
    return best(H, G, units[kept]), kept


def test_swaps_lower_the_error_towards_that_of_the_best_set():
    gains = 0
    for seed in range(8):
        W, H, G, units = problem(1, seed, n=8)
        greedy = removed(W, H, units, 4, at_once=2)
        swapped = swap(H, G, units, greedy, 2, 30)
        sets = [greedy, swapped, swap(H, G, units, swapped, 2, 30)]
        first, second, third = (error(best(H, G, units[kept]), H, G) for kept in sets)
        least = min(error(best(H, G, units[list(K)]), H, G) for K in combinations(range(8), 4))
        assert least * (1 + 1e-9) <= third == second <= first
        assert swapped.sum() == 4
        gains += second < first
    assert gains >= 2


# Whole models


@pytest.mark.parametrize(
    ("family", "outputs", "swaps"),
    [*((family, "layer", 0) for family in MODEL_TYPES), ("llama", "dense", 2), ("opt", "dense", 2)],
)
def test_both_layers_see_the_unpruned_block_behind_pruned_ones(
    family: str, outputs: str, swaps: int
):
    pruned, tokens = tiny_model(family, blocks=3), random_tokens(samples=12)
    dense, byhand = copy.deepcopy(pruned), copy.deepcopy(pruned)
    settings = {"groups_at_once": 1, "channels_at_once": 3, "groups_swapped": 2}
    OSSCAR(sparsity=0.4, outputs=outputs, swaps=swaps, **settings).apply(pruned, tokens)
    swapped = 0
    for block, was, now in zip(pruned.blocks, dense.blocks, byhand.blocks, strict=True):
        solutions = []
        for kind, count, at_once, swapping in (
            ("kv-groups", was.attention.kv_heads - block.attention.kv_heads, 1, 2),
            ("channels", was.feed_forward.channels - block.feed_forward.channels, 3, 3),
        ):
            linear, role = now.linears()[READERS[kind]], READERS[kind]
            X, Y = inputs(byhand, linear, tokens), inputs(dense, was.linears()[role], tokens)
            W, H = linear.weight.double(), damped(X.T @ X)
            G = W @ H if outputs == "layer" else W @ (Y.T @ X + H - X.T @ X)
            units = columns(now, kind)
            V, kept = plain(W, H, G, units.shape[1], steps(count, at_once))
            for _ in range(swaps):
                other, stay = plain_swap(H, G, units, kept, min(swapping, int(kept.sum())))
                if error(other, H, G) < error(V, H, G):
                    V, kept, swapped = other, stay, swapped + 1
            solutions.append((kind, V, kept))
        for kind, V, kept in solutions:
            now.linears()[READERS[kind]].weight.copy_(V)
            keep_units(now, kind, kept)
        for role, linear in now.linears().items():
            ours = block.linears()[role].weight
            torch.testing.assert_close(ours, linear.weight, rtol=1e-3, atol=1e-4)
    assert (swapped > 0) == (swaps > 0)


def test_costs_of_kv_groups_are_exact_in_the_dense_model():
    model, tokens = tiny_model("opt"), random_tokens()
    for block, ours in zip(model.blocks, OSSCAR().group_costs(model, tokens), strict=True):
        linear, units = block.attention.o, columns(block, "kv-groups")
        X, W = inputs(model, linear, tokens), linear.weight.double()
        H = damped(X.T @ X)
        exact = []
        for j in range(len(units)):
            others = units[torch.arange(len(units)) != j]
            exact.append(error(best(H, W @ H, others), H, W @ H) - error(W, H, W @ H))
        assert ours.tolist() == pytest.approx(exact, rel=1e-3)


def test_groups_and_channels_have_their_own_numbers_of_swaps(monkeypatch):
    numbers = []

    def recorded(H: Tensor, G: Tensor, units: Tensor, kept: Tensor, *settings: int) -> Tensor:
        numbers.append(settings)
        return kept

    monkeypatch.setattr(osscar, "swap", recorded)
    settings = {"groups_at_once": 1, "groups_swapped": 2, "channels_at_once": 3, "swaps": 4}
    OSSCAR(sparsity=0.4, **settings).apply(tiny_model("opt", blocks=1), random_tokens())
    assert numbers == [(2, 4), (3, 4)]  # KV groups, channels


@pytest.mark.parametrize(("outputs", "swaps"), [("layer", 0), ("layer", 5), ("dense", 5)])
def test_silent_units_of_a_model_go_first_and_stay_away(outputs: str, swaps: int):
    model = tiny_model()
    attention, channels = model.blocks[1].attention, model.blocks[1].feed_forward
    group = columns(model.blocks[1], "kv-groups")[1]
    attention.v.weight[attention.head_size :] = 0
    attention.o.weight[:, group] = 1e3
    channels.up.weight[5:7] = 0
    channels.down.weight[:, 5:7] = 1e3
    method = OSSCAR(sparsity=0.2, outputs=outputs, swaps=swaps)
    assert method.apply(model, random_tokens()).details["kv_groups"] == [2, 1]
    assert attention.v.weight.any()
    assert channels.down.weight.abs().max() < 1e3


@pytest.mark.model
def test_on_real_blocks_the_search_beats_a_choice_at_once(first_blocks):
    ours = first_blocks.error("osscar", sparsity=0.3)
    assert ours < first_blocks.error("osscar", sparsity=0.3, channels_at_once=1536)
    assert ours < first_blocks.error("random", sparsity=0.3) / 2
