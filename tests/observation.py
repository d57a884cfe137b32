"""Activations and gradients of a model by plain passes, which tests compare with the harness's."""

from __future__ import annotations

import copy
import itertools
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from implementations.harness import Block, LanguageModel, Method, Tokens
from implementations.harness.contract.helpers import logits
from implementations.harness.contract.tiny import random_tokens, tiny_model


def inputs(model: LanguageModel, linear: nn.Module, tokens: Tokens) -> Tensor:
    """Return the inputs of a layer in the model's own forward pass, fp64 `[tokens, in]`."""
    seen: list[Tensor] = []
    handle = linear.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    logits(model, tokens)
    handle.remove()
    return torch.cat(seen).flatten(end_dim=-2).double()


def check_walk(method: Method, pruned: Callable[[Tensor, Tensor], Tensor], family: str) -> None:
    """Check that each decoder layer sees the pruned ones before it, and itself while it is dense.

    `pruned(W, gram)` prunes one layer as `method` does: `W` `[out, in]`, `gram` `[in, in]`, fp64.
    """
    calibration, dense = random_tokens(8, 24), tiny_model(family, blocks=3)
    result = copy.deepcopy(dense)
    method.apply(result, calibration)
    half = copy.deepcopy(result)
    half.layers[2].load_state_dict(dense.layers[2].state_dict())  # blocks 0 and 1 pruned
    for model, agrees in ((half, True), (dense, False)):
        for role, linear in dense.blocks[2].linears().items():
            seen = inputs(model, model.blocks[2].linears()[role], calibration)
            with torch.no_grad():
                expected = pruned(linear.weight, seen.T @ seen)
            actual = result.blocks[2].linears()[role].weight
            assert torch.allclose(actual, expected, rtol=1e-3, atol=1e-3) == agrees, role


def sample_gradients(model: LanguageModel, tokens: Tokens) -> list[dict[str, Tensor]]:
    """Return the gradients of every sample by role, `[samples, out, in]`, for each block.

    Each sample has a backward pass of its own.
    """
    model, rows = copy.deepcopy(model), []
    for ids in tokens.ids:
        model.hf.zero_grad()
        with torch.enable_grad():
            model.hf(input_ids=ids[None], labels=ids[None], use_cache=False).loss.backward()
        rows.append(
            [
                {role: linear.weight.grad.clone() for role, linear in block.linears().items()}
                for block in model.blocks
            ]
        )
    return [
        {role: torch.stack([sample[role] for sample in block]) for role in block[0]}
        for block in zip(*rows, strict=True)
    ]


class FreedByBlock:
    """Check that a method frees objects, such as gradients, before it asks for the next block."""

    def __init__(self) -> None:
        self.references: list[weakref.ref[Any]] = []

    def recorded(
        self,
        function: Callable[..., Any],
        objects: Callable[[Any], Iterable[Any]] = lambda result: [result],
    ) -> Callable[..., Any]:
        """Return the function, with the `objects` of each of its results recorded."""

        def watched(*arguments: Any, **settings: Any) -> Any:
            result = function(*arguments, **settings)
            self.references.extend(weakref.ref(each) for each in objects(result))
            return result

        return watched

    def checked(self, walk: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """Return the walk, which fails after a block if a recorded object is still in memory."""

        def walked(*arguments: Any, **settings: Any) -> Iterator[Any]:
            blocks = walk(*arguments, **settings)
            while block := list(itertools.islice(blocks, 1)):
                gradients = getattr(block[0], "gradients", {})
                self.references.extend(weakref.ref(each) for each in gradients.values())
                del gradients
                yield block.pop()
                alive = [each for each in self.references if each() is not None]
                assert not alive

        return walked


class Search(NamedTuple):
    """A search for the shares of a block."""

    inputs: Tensor
    """Of the block, `[samples, length, hidden]`."""
    shares: dict[str, float]


def searches(monkeypatch: pytest.MonkeyPatch, method: ModuleType) -> list[Search]:
    """Return a list that gets each search for the shares of a block."""
    found, search = [], method.greedy_shares

    def searched(block: Block, inputs: list[Tensor], *settings: Any) -> dict[str, float]:
        given = torch.cat([x.clone() for x in inputs])
        found.append(Search(given, search(block, inputs, *settings)))
        return found[-1].shares

    monkeypatch.setattr(method, "greedy_shares", searched)
    return found


def assert_search_decides(
    model: LanguageModel, tokens: Tokens, found: list[Search], shares: list[dict[str, float]]
) -> None:
    """Assert that searches read the first two dense inputs of their blocks and gave `shares`."""
    assert len(found) == len(model.blocks)
    for layer, one, final in zip(model.layers, found, shares, strict=True):
        entering = inputs(model, layer, tokens).view(len(tokens.ids), -1, one.inputs.shape[-1])
        torch.testing.assert_close(one.inputs.double(), entering[:2], rtol=1e-4, atol=1e-4)
        assert final == pytest.approx(one.shares, abs=1 / 32)
