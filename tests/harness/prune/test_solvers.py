"""The solver of SparseGPT and the factors of shared inputs."""

from __future__ import annotations

import gc

import pytest
import torch

from implementations.harness import (
    Gram,
    inverse_factor,
    smallest,
    sparse_solve,
    walk,
)
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.prune.solvers import factored_layers


def problem(rows: int = 6, width: int = 20):
    """Return weights [rows, width], the factor of correlated inputs, and no silent input."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(80, width, generator=generator) @ torch.randn(width, width, generator=generator)
    weight = torch.randn(rows, width, generator=generator)
    return weight, inverse_factor(X.T @ X, 0.01), torch.zeros(width, dtype=torch.bool)


@pytest.mark.parametrize(("group", "widths"), [(None, [8, 8, 4]), (4, [4] * 5)])
def test_passes_costs_from_left_to_right_and_removes_the_chosen_weights(group, widths) -> None:
    weight, factor, silent = problem()
    seen, removed = [], []

    def choose(costs):
        seen.append(costs)
        removed.append(smallest(costs, len(seen) % 3))  # a number of its own for each call
        return removed[-1]

    result = sparse_solve(weight, factor, silent, choose, 8, group)
    assert [costs.shape for costs in seen] == [(6, width) for width in widths]
    assert torch.equal(result == 0, torch.cat(removed, dim=1))
    first = widths[0]  # the first columns have received no errors yet
    expected = (weight[:, :first] / factor.diagonal()[:first]).square()
    torch.testing.assert_close(seen[0], expected)
    late = (weight[:, first:] / factor.diagonal()[first:]).square()
    assert not torch.allclose(torch.cat(seen[1:], dim=1), late, rtol=0.01)


def test_silent_inputs_cost_nothing() -> None:
    weight, factor, silent = problem()
    silent[3] = True
    costs = []
    sparse_solve(weight, factor, silent, lambda c: costs.append(c) or c < 0, 20)
    assert (costs[0] == 0).sum(dim=0).tolist() == [6 if j == 3 else 0 for j in range(20)]


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_layers_with_the_same_input_share_its_factor(family) -> None:
    for block in walk(tiny_model(family, blocks=1), random_tokens()):
        grams = block.observe(Gram)
        found = list(factored_layers(block, grams, 0.01))
        assert {role: linear for role, linear, *_ in found} == block.linears()
        for role, _, factor, silent in found:
            torch.testing.assert_close(factor, inverse_factor(grams[role].matrix, 0.01))
            assert not silent.any()
        assert len({id(factor) for _, _, factor, _ in found}) == len(set(map(id, grams.values())))


def test_no_matrix_waits_for_garbage_collection():
    """At 7B width, matrices that outlive a call add up to gigabytes per block."""
    gc.collect()
    sparse_solve(*problem(), lambda costs: costs < 0, 8)
    assert gc.collect() == 0
