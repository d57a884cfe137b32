"""The masked view: a model computes as without some of its units, and no weight is touched.

with masked(model, gone, "kv-groups", "channels"):
    perplexity(model, probes)            # that of the model without the units marked in `gone`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from implementations.harness.data.activations import replaced_forward
from implementations.harness.errors import BadInput
from implementations.harness.model.units import Kind, cuts, unit_costs
from implementations.harness.model.view import Block, LanguageModel


class Switch(NamedTuple):
    """Where units of a block can be switched: at what enters a linear layer, or what leaves it."""

    linear: nn.Linear
    entering: bool
    unit: Tensor
    """The unit that each place of the layer's input or output belongs to, int64, on the CPU."""

    def act(self, change: Callable[[Tensor], Tensor]) -> Callable[[], None]:
        """Let the layer read, or write, what `change` makes of it; return what ends that."""
        if self.entering:
            before = self.linear.register_forward_pre_hook(lambda _, args: (change(args[0]),))
            return before.remove
        return self.linear.register_forward_hook(lambda _, __, output: change(output)).remove


def switches(block: Block, kind: Kind) -> list[Switch]:
    """Return all places where units of one kind act, each once.

    What enters the layers from which they lose columns; where they lose rows alone, what leaves.
    """
    parts = cuts(block, kind)
    entered = [part for part in parts if part.dim == 1]
    found = []
    for linear, dim, places in entered or parts:
        unit = torch.empty(places.numel(), dtype=torch.int64)
        unit[places.flatten()] = torch.arange(len(places)).repeat_interleave(places.shape[1])
        found.append(Switch(linear, dim == 1, unit))
    return found


@contextmanager
def masked(model: LanguageModel, gone: Tensor, *kinds: Kind) -> Iterator[None]:
    """Let a model compute inside the `with` block what it would without the units `gone`.

    `gone` is boolean, `[units]`, block by block and within a block kind by kind, as `unit_costs`
    counts them. Zeros take the place of what enters a layer or leaves it, see `switches`, or of
    what `o` and `down` put out (sublayers); a block passes on what it gets, at no cost. Weights are
    neither read nor written, so that the blocks may lie elsewhere. Masks nest. Meant for passes
    without a key/value cache, of which a block that is off stores nothing. Raises `BadInput` for
    another number of units.
    """
    counts = [[len(unit_costs(block, kind)) for kind in kinds] for block in model.blocks]
    if gone.dtype != torch.bool or gone.shape != (sum(map(sum, counts)),):
        raise BadInput(
            f"a mask of {gone.dtype} {list(gone.shape)} does not fit the model's "
            f"{sum(map(sum, counts))} units; it is boolean, one entry a unit"
        )
    parts = iter(gone.cpu().split([count for row in counts for count in row]))
    with ExitStack() as changes:
        for block in model.blocks:
            for kind in kinds:
                off = next(parts)
                if bool(off.any()):
                    changes.enter_context(_without(block, kind, off))
        yield


@contextmanager
def _without(block: Block, kind: Kind, off: Tensor) -> Iterator[None]:
    """Switch the units `off [units]` of one block off."""
    with ExitStack() as changes:
        if kind == "blocks":
            changes.enter_context(replaced_forward(block.module, _pass_on))
        elif kind == "sublayers":
            outputs = block.attention.o, block.feed_forward.down
            for linear, silent in zip(outputs, off.tolist(), strict=True):
                if silent:
                    changes.callback(linear.register_forward_hook(_silence).remove)
        else:
            for switch in switches(block, kind):
                changes.callback(_hide(switch, off))
        yield


def _pass_on(hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
    return hidden_states


def _silence(_: nn.Module, __: Any, output: Tensor) -> Tensor:
    return torch.zeros_like(output)


def _hide(switch: Switch, off: Tensor) -> Callable[[], None]:
    """Zero what a layer reads or writes of the units `off`, until what it returns is called."""
    hidden = off[switch.unit]  # boolean, one entry a place of the layer

    def zeroed(values: Tensor) -> Tensor:
        # Filled, not multiplied: infinity times zero is NaN, and a slice would not see it.
        return values.masked_fill(hidden.to(values.device), 0)

    return switch.act(zeroed)
