"""Gates: trainable factors of units, from which a method learns which units to remove.

with gated(model, "kv-groups", "channels") as gates:
    gates.values = torch.sigmoid(logits)  # [units]; gradients reach the logits
    loss = next_token_loss(model, ids)    # of the gated model
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from torch import Tensor

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
        self.values = None

    def of(self, part: int) -> Tensor | None:
        """Return the gates of one kind in one block, `[units]`."""
        return None if self.values is None else self.values.split(self.counts)[part]


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


def _multiplied(switch: Switch, gates: Gates, part: int) -> Callable[[], None]:
    unit = switch.unit.to(switch.linear.weight.device)

    def multiplied(values: Tensor) -> Tensor:
        gate = gates.of(part)
        return values if gate is None else values * gate[unit].to(values.dtype)

    return switch.act(multiplied)


def off_budget(left: Tensor, allowed: float) -> Tensor:
    """Return `log(max / min)` of the remaining and the allowed weights, a loss that is 0 if equal.

    Source: DISP-LLM (Gao et al., arXiv:2410.11988), equation (6).
    """
    return (left / allowed).log().abs()
