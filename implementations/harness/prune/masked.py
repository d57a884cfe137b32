"""The masked view: a model computes as without some of its units, and no weight is touched.

with masked(model, gone, "kv-groups", "channels"):
    perplexity(model, probes)            # that of the model without the units marked in `gone`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from implementations.harness.data.activations import replaced_forward
from implementations.harness.errors import BadInput
from implementations.harness.model.units import NAMES, Kind, cuts, unit_costs
from implementations.harness.model.view import Block, LanguageModel


@contextmanager
def masked(model: LanguageModel, gone: Tensor, *kinds: Kind) -> Iterator[None]:
    """Let a model compute inside the `with` block what it would without the units `gone`.

    `gone` is boolean, `[units]`, block by block and within a block kind by kind, as `unit_costs`
    counts them. Zeros take the place of what enters `o` and `down` (KV groups, query heads, value
    dimensions, channels) or of what they put out (sublayers); a block passes on what it gets, at
    no cost. Weights are neither read nor written, so that the blocks may lie elsewhere. Masks
    nest. Meant for passes without a key/value cache, of which a block that is off stores nothing.
    Raises `BadInput` for another number of units and for rotary pairs, which cannot be masked
    where they enter a layer.
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
            linear, hide = _hiding(block, kind, off)
            changes.callback(linear.register_forward_pre_hook(hide).remove)
        yield


def _pass_on(hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
    return hidden_states


def _silence(_: nn.Module, __: Any, output: Tensor) -> Tensor:
    return torch.zeros_like(output)


def _hiding(block: Block, kind: Kind, off: Tensor) -> tuple[nn.Linear, Callable[..., Tensor]]:
    """Return the layer that the units of a block enter, and the hook that zeroes those `off`."""
    entered = [part for part in cuts(block, kind) if part.dim == 1]
    if not entered:
        raise BadInput(f"a {NAMES[kind]} enters no layer: its weights have to be masked")
    linear, _, places = entered[0]
    hidden = torch.zeros(linear.in_features, dtype=torch.bool)
    hidden[places[off].flatten()] = True

    def hide(_: nn.Module, args: tuple[Tensor, ...]) -> Tensor:
        # Filled, not multiplied: infinity times zero is NaN, and a slice would not see it.
        return args[0].masked_fill(hidden.to(args[0].device), 0)

    return linear, hide
