"""Evaluate a model without some of its units, and without changing its weights.

with masked(model, removed, "kv-groups", "channels"):
    perplexity(model, probes)            # of the model without the units marked in `removed`
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from implementations.harness.errors import BadInput
from implementations.harness.model.execution import bypass, replaced_forward
from implementations.harness.model.units import Kind, cuts, unit_costs
from implementations.harness.model.view import Block, LanguageModel


class Switch(NamedTuple):
    """A place where units of a block can be masked: the input or the output of a linear layer."""

    linear: nn.Linear
    entering: bool
    unit: Tensor
    """The unit of each dimension of the layer's input or output, int64, on the CPU."""

    def act(self, change: Callable[[Tensor], Tensor]) -> Callable[[], None]:
        """Apply `change` to the layer's input or output; return a function that undoes this."""
        if self.entering:
            before = self.linear.register_forward_pre_hook(lambda _, args: (change(args[0]),))
            return before.remove
        return self.linear.register_forward_hook(lambda _, __, output: change(output)).remove


def switches(block: Block, kind: Kind) -> list[Switch]:
    """Return the places at which units of one kind can be masked.

    These are the inputs of layers with columns of the units or, if there are none, the outputs of
    layers with rows of them.
    """
    parts = cuts(block, kind)
    entered = [part for part in parts if part.dim == 1]
    places_of_units = []
    for linear, dim, places in entered or parts:
        unit = torch.empty(places.numel(), dtype=torch.int64)
        unit[places.flatten()] = torch.arange(len(places)).repeat_interleave(places.shape[1])
        places_of_units.append(Switch(linear, dim == 1, unit))
    return places_of_units


@contextmanager
def masked(model: LanguageModel, removed: Tensor, *kinds: Kind) -> Iterator[None]:
    """Make a model compute inside the `with` block as if the units `removed` did not exist.

    `removed` is boolean, `[units]`, block by block and within a block kind by kind, in the order of
    `unit_costs`. Masking zeroes inputs or outputs of layers, see `switches`, or the outputs of `o`
    and `down` (sublayers); masked blocks return their input at no cost. Routers choose among the
    experts that are not masked. Weights are neither read nor written, so the blocks may be on disk.
    Masks can be nested. Do not use it with a key/value cache, in which masked blocks store nothing.
    Raises `BadInput` for another number of units.
    """
    counts = [[len(unit_costs(block, kind)) for kind in kinds] for block in model.blocks]
    if removed.dtype != torch.bool or removed.shape != (sum(map(sum, counts)),):
        raise BadInput(
            "the mask must be boolean with one entry for each of the model's "
            f"{sum(map(sum, counts))} units, got {removed.dtype} {list(removed.shape)}"
        )
    parts = iter(removed.cpu().split([count for row in counts for count in row]))
    with ExitStack() as changes:
        for block in model.blocks:
            for kind in kinds:
                off = next(parts)
                if bool(off.any()):
                    changes.enter_context(_without(block, kind, off))
        yield


@contextmanager
def _without(block: Block, kind: Kind, off: Tensor) -> Iterator[None]:
    """Mask the units `off [units]` of one block."""
    with ExitStack() as changes:
        if kind == "blocks":
            changes.enter_context(replaced_forward(block.module, bypass))
        elif kind == "experts":
            changes.callback(_unrouted(block, off).remove)
        elif kind == "sublayers":
            outputs = block.attention.o, block.feed_forward.down
            for linear, silent in zip(outputs, off.tolist(), strict=True):
                if silent:
                    changes.callback(linear.register_forward_hook(_silence).remove)
        else:
            for switch in switches(block, kind):
                changes.callback(_mask(switch, off))
        yield


def _silence(_: nn.Module, __: Any, output: Tensor) -> Tensor:
    return torch.zeros_like(output)


def _unrouted(block: Block, off: Tensor) -> RemovableHandle:
    """Make the router of a block choose among the experts that are not `off [experts]`.

    Raises `BadInput` if it would choose more experts for a token than remain.
    """
    experts = block.experts
    assert experts is not None  # otherwise it has no units of this kind
    experts.check_left(experts.count - int(off.sum()), f"block {block.index}")

    def choose_again(_: nn.Module, __: Any, output: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        logits, gates = output[:2]
        logits = logits.masked_fill(off.to(logits.device), -math.inf)
        routing = experts.route(logits)
        return logits, routing.gates.to(gates.dtype), routing.chosen

    return experts.router.register_forward_hook(choose_again)


def _mask(switch: Switch, off: Tensor) -> Callable[[], None]:
    """Zero the units `off` at a switch; return a function that undoes this."""
    hidden = off[switch.unit]  # boolean, `[dimensions of the input or output]`

    def zeroed(values: Tensor) -> Tensor:
        # Filled instead of multiplied, because infinity times zero is NaN.
        return values.masked_fill(hidden.to(values.device), 0)

    return switch.act(zeroed)
