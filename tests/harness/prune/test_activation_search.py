"""The greedy search of shares equals one that runs the whole block for every trial."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from implementations.harness import Kept, WalkedBlock, greedy_shares, walk
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.prune.activation_search import Sample

CALIBRATION = replace(random_tokens(2, 24), batch_size=1)


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


def largest(role: str, share: float) -> Kept:
    """Keep the largest entries of each token."""

    def kept(x: Tensor) -> Tensor:
        count = round((1 - share) * x.shape[-1])
        places = x.abs().topk(count, dim=-1).indices
        return torch.zeros_like(x, dtype=torch.bool).scatter(-1, places, value=True)

    return kept


def first_block(family: str, edit: Callable[[WalkedBlock], Any] = lambda block: None) -> Any:
    """Return a block with its dense inputs."""
    block = next(walk(tiny_model(family), CALIBRATION))
    edit(block)
    return block, [host.clone() for host in block.boundary.hidden]


def output(block: WalkedBlock, x: Tensor, shares: dict[str, float]) -> Tensor:
    """Return the last quarter of the output, with the second half of each input masked."""
    tokens = x.shape[1]
    with ExitStack() as hooks:
        for role, linear in block.linears().items():

            def mask(_: Any, args: Any, role: str = role) -> Tensor:
                entering = args[0].reshape(tokens, -1).clone()
                after = entering[tokens // 2 :]
                after *= largest(role, shares[role])(after)
                return entering.view_as(args[0])

            handle = linear.register_forward_pre_hook(mask)
            hooks.callback(handle.remove)
        return block.boundary.through(block, x)[:, -(tokens // 4) :]


def searched(block: WalkedBlock, inputs: list[Tensor], target: float, step: float) -> Any:
    """Search by running the whole block for every trial."""
    sizes = {role: linear.weight.numel() for role, linear in block.linears().items()}
    shares = dict.fromkeys(sizes, 0.0)
    dense = [output(block, x, shares) for x in inputs]
    missing = target * sum(sizes.values())
    while missing >= 0.5:
        errors = {}
        for role in [role for role in sizes if shares[role] < 1]:
            share = min(1.0, shares[role] + min(missing, step * 32**2) / sizes[role])
            tried = shares | {role: share}
            ys = [output(block, x, tried) for x in inputs]
            error = sum(float((y - d).square().sum()) for y, d in zip(ys, dense, strict=True))
            errors[error] = role, share
        role, share = errors[min(errors)]
        missing -= (share - shares[role]) * sizes[role]
        shares[role] = share
    return shares


@pytest.mark.parametrize("family", ["llama", "gemma3", "opt"])
def test_runs_that_start_from_earlier_ones_equal_whole_runs(family: str):
    """Every role changes once, and each run uses what the one before it computed."""
    block, (x, _) = first_block(family)
    sample = Sample(block, x)
    shares = dict.fromkeys(block.linears(), 0.0)
    for number, role in enumerate([*shares, *reversed(shares)], start=2):
        shares[role] = number / 20
        run = sample.run({each: largest(each, share) for each, share in shares.items()}, role)
        sample.keep(run)
        torch.testing.assert_close(run.y, output(block, x, shares), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gemma3", "opt"])
def test_equals_the_search_over_whole_blocks(family: str):
    block, inputs = first_block(family)
    found = greedy_shares(block, inputs, 0.5, 0.5, largest)
    assert found == pytest.approx(searched(block, inputs, 0.5, 0.5))
    assert len({*found.values()}) > 2


def test_shares_are_weighted_by_the_sizes_of_the_layers():
    block, inputs = first_block("llama")
    sizes = {role: linear.weight.numel() for role, linear in block.linears().items()}
    for target in (0.13, 0.5, 1.0):
        found = greedy_shares(block, inputs, target, 0.3, largest)
        unread = sum(found[role] * size for role, size in sizes.items())
        assert unread == pytest.approx(target * sum(sizes.values()))
        assert max(found.values()) <= 1
        assert set(found.values()) == {1.0} or target < 1


def test_layers_without_effect_go_first():
    block, inputs = first_block("llama", lambda block: block.linears()["up"].weight.zero_())
    found = greedy_shares(block, inputs, 0.6, 0.5, largest)  # all weights of the MLP
    assert {role for role, share in found.items() if share == 1} == {"gate", "up", "down"}
    assert not any(found[role] for role in "qkvo")
