"""Gates: trainable factors of units, from which a method learns which units to remove.

with gated(model, "kv-groups", "channels") as gates:
    gates.values = torch.sigmoid(logits)  # [units]; gradients reach the logits
    loss = next_token_loss(model, ids)    # of the gated model
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from implementations.harness.model.hidden_width import check_hidden_width
from implementations.harness.model.units import Kind, unit_costs
from implementations.harness.model.view import LanguageModel, require_whole_model
from implementations.harness.prune.masked import Switch, switches


class Gates:
    """The factors of the units of a model, `[units]`, in the order of `masked`."""

    values: Tensor | None
    """None stands for ones and costs nothing."""

    def __init__(self, counts: list[int]) -> None:
        self.counts = counts
        """Number of units per block and kind."""
        self.starts = [0, *accumulate(counts)]
        self.values = None

    def of(self, part: int) -> Tensor | None:
        """Return the gates of one kind in one block, `[units]`."""
        if self.values is None:
            return None
        return self.values.narrow(0, self.starts[part], self.counts[part])


@contextmanager
def gated(model: LanguageModel, *kinds: Kind) -> Iterator[Gates]:
    """Multiply the units of a model by gates inside the `with` block; the gates start at one.

    A gate of 0 has the effect of `masked`. Raises `BadInput` for a model that is moved to the
    accelerator block by block.
    """
    require_whole_model(model, "a gate")
    places = [(block, kind) for block in model.blocks for kind in kinds]
    gates = Gates([len(unit_costs(block, kind)) for block, kind in places])
    with ExitStack() as changes:
        for part, (block, kind) in enumerate(places):
            for switch in switches(block, kind):
                changes.callback(_multiplied(switch, gates, part))
        yield gates


@contextmanager
def gated_hidden(model: LanguageModel) -> Iterator[Gates]:
    """Multiply the hidden dimensions of a model by gates `[hidden]` inside the `with` block.

    A gate multiplies its dimension in the output of every norm over the residual stream and of
    every layer that writes the stream. Norms take the mean square over the dimensions whose gate is
    not 0, so gates of 0 and 1 have the effect of `keep_hidden`. The gates start at one. Raises
    `BadInput` for a family whose hidden size cannot change.

    Source: the masked norm of Sheared LLaMA (Xia et al., arXiv:2310.06694), official code.
    """
    check_hidden_width(model)
    dense = model.embedding.shape[1]
    gates = Gates([dense])

    def spread() -> Tensor:
        """Return the factor by which the root mean square over all dimensions is too small."""
        assert gates.values is not None
        kept = torch.count_nonzero(gates.values).clamp(min=1)  # a tensor: no wait for the device
        return (dense / kept.double()).sqrt()

    def entering(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        gate = gates.of(0)
        if gate is None:
            return None
        closed = (gate == 0).to(args[0].device)
        return (args[0].masked_fill(closed, 0) * spread(), *args[1:])

    def normed(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        gate = gates.of(0)
        return output if gate is None else output / spread() * gate.to(output)

    def written(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        gate = gates.of(0)
        return output if gate is None else output * gate.to(output)

    norms = [norm for block in model.blocks for norm in block.stream_norms]
    with ExitStack() as changes:
        for norm in [*norms, model.final_norm]:
            changes.callback(norm.register_forward_pre_hook(entering).remove)
            changes.callback(norm.register_forward_hook(normed).remove)
        for block in model.blocks:
            for linear in block.writers:
                changes.callback(linear.register_forward_hook(written).remove)
        yield gates


def _multiplied(switch: Switch, gates: Gates, part: int) -> Callable[[], None]:
    unit = switch.unit.to(switch.linear.weight.device)

    def multiplied(values: Tensor) -> Tensor:
        gate = gates.of(part)
        return values if gate is None else values * gate[unit].to(values.dtype)

    return switch.act(multiplied)


def budget_loss(left: Tensor, allowed: float) -> Tensor:
    """Return `log(max / min)` of the remaining and the allowed weights, a loss that is 0 if equal.

    Source: DISP-LLM (Gao et al., arXiv:2410.11988), equation (6).
    """
    return (left / allowed).log().abs()
