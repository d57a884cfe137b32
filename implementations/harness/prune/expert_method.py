"""Base class of methods that remove experts.

`routed` yields the inputs, routing and outputs of experts on the calibration set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

from torch import Tensor, nn

from implementations.harness.data.tokens import Tokens
from implementations.harness.errors import BadInput
from implementations.harness.model.surgery import Units, keep_experts, set_expert_count
from implementations.harness.model.units import experts_left, total_weights
from implementations.harness.model.view import LanguageModel
from implementations.harness.prune.method import Ratio
from implementations.harness.prune.unit_method import UnitMethod
from implementations.harness.prune.walk import WalkedBlock


class ExpertMethod(UnitMethod):
    """A method that removes the same number of experts from every block that has experts.

    A stock configuration has one number of experts for all blocks, and every block keeps at least
    as many experts as its router chooses for a token.
    """

    sparsity: Ratio = 0.25
    """Share of the decoder layers' weights to remove, as equally many experts of each."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Check also that all blocks with experts have the same number."""
        super().check(model, calibration)
        counts = set(experts_left(model)["experts"]) - {0}
        if len(counts) > 1:
            raise BadInput(
                f"{self.slug()} removes equally many experts from every block, but the blocks of "
                f"this model have {sorted(counts)}; prune the dense model instead"
            )

    def largest_unit(self, model: LanguageModel) -> int:
        """Return the number of weights of one expert in every block, which are removed together."""
        return sum(block.experts.cost for block in model.blocks if block.experts)

    def removable(self, model: LanguageModel) -> int:
        """Return the largest number of experts that a block can lose."""
        return min(
            block.experts.count - block.experts.top_k for block in model.blocks if block.experts
        )

    def share(self, model: LanguageModel, count: int) -> float:
        """Return the sparsity at which every block loses `count` experts."""
        return count * self.largest_unit(model) / total_weights(model)

    def max_sparsity(self, model: LanguageModel) -> float:
        """Return the maximum sparsity, which leaves as many experts as a token uses."""
        if not model.family.experts:
            return 1.0  # refused for another reason
        if not any(block.experts for block in model.blocks):
            raise BadInput(f"{self.slug()} removes experts, but {model.name} has none")
        return self.share(model, self.removable(model))

    def lost(self, model: LanguageModel) -> int:
        """Return the number of experts that every block loses, the closest to the budget."""
        return round(self.budget(model) / self.largest_unit(model))

    def keep(self, model: LanguageModel, kept: Mapping[int, Units]) -> dict[str, Any]:
        """Remove all experts of each block but `kept`, by its index; return the numbers left."""
        for block in model.visit():
            if block.index in kept:
                keep_experts(block, kept[block.index])
        set_expert_count(model)
        return experts_left(model)


class Routed(NamedTuple):
    """Inputs, routing and summed outputs of a block's experts for one micro-batch."""

    x: Tensor
    """Their input, `[tokens, hidden]`."""
    logits: Tensor
    """The output of the router, `[tokens, experts]`."""
    gates: Tensor
    """The factor of each chosen expert's output, `[tokens, k]`."""
    chosen: Tensor
    """Indices of the chosen experts, `[tokens, k]`."""
    y: Tensor
    """The sum of the chosen experts' outputs times their gates, `[tokens, hidden]`."""


def routed(block: WalkedBlock) -> Iterator[Routed]:
    """Run the calibration set through a block and yield what its experts do, per micro-batch.

    Raises `BadInput` for a block without experts.
    """
    experts = block.experts
    if experts is None:
        raise BadInput(f"block {block.index} has no experts")
    seen: dict[str, tuple[Tensor, ...]] = {}

    def note_router(_: nn.Module, __: Any, output: tuple[Tensor, ...]) -> None:
        seen["router"] = output

    def note_experts(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        seen["experts"] = (*args, output)

    with ExitStack() as hooks:
        hooks.callback(experts.router.register_forward_hook(note_router).remove)
        hooks.callback(experts.module.register_forward_hook(note_experts).remove)
        for _ in block.run():
            x, chosen, gates, y = seen["experts"]
            yield Routed(x, seen["router"][0], gates, chosen, y)
