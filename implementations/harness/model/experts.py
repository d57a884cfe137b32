"""The experts of a decoder layer: which ones the router chooses, and their outputs.

The weights of all routed experts of a block are stored together, in tensors whose first dimension
is the expert. Experts that see every token (shared experts) are ordinary linear layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from implementations.harness.errors import BadInput

TENSORS = ("gate_up_proj", "down_proj")
"""The parameters with the weights of all experts."""


class Routing(NamedTuple):
    """The experts that the router chooses for each token, and the factors of their outputs."""

    gates: Tensor
    """The gate of each chosen expert, `[tokens, k]`, fp32."""
    chosen: Tensor
    """Indices of the chosen experts, `[tokens, k]`, the largest gate first."""


@dataclass(frozen=True)
class Experts:
    """The routed experts of one block and their router."""

    router: nn.Module
    """Has a `weight [experts, hidden]` and returns logits, gates and indices."""
    module: nn.Module
    """Has `gate_up_proj [experts, 2 * channels, hidden]` and `down_proj [experts, hidden,
    channels]`."""

    @property
    def count(self) -> int:
        """Number of experts."""
        return len(self.weights()["router"])

    @property
    def top_k(self) -> int:
        """Number of experts that compute for each token."""
        return int(cast(int, self.router.top_k))

    @property
    def cost(self) -> int:
        """Number of weights of one expert, with its row of the router."""
        return sum(weight[0].numel() for weight in self.weights().values())

    def weights(self) -> dict[str, nn.Parameter]:
        """Return the parameters of which each expert has one slice, the router's first."""
        stacked = {name: getattr(self.module, name) for name in TENSORS}
        return {"router": cast(nn.Parameter, self.router.weight), **stacked}

    def route(self, logits: Tensor) -> Routing:
        """Choose experts by `logits [tokens, experts]` as the router of the model does.

        An expert whose logit is minus infinity is not chosen.
        """
        probabilities = logits.softmax(dim=-1, dtype=torch.float32)  # [tokens, experts]
        gates, chosen = probabilities.topk(self.top_k, dim=-1)
        if getattr(self.router, "norm_topk_prob", True):  # Mixtral always does, without a setting
            gates = gates / gates.sum(dim=-1, keepdim=True)
        return Routing(gates, chosen)

    def check_left(self, count: int, where: str) -> None:
        """Raise `BadInput` if the router chooses more experts for a token than `count`."""
        if count < self.top_k:
            raise BadInput(
                f"{count} experts would remain in {where}, which uses {self.top_k} for each token; "
                "keep at least as many"
            )

    def output(self, expert: int, x: Tensor) -> Tensor:
        """Return the output `[tokens, hidden]` of one expert for `x`, not multiplied by a gate."""
        _, gate_up, down = (weight[expert] for weight in self.weights().values())
        gate, up = linear(x, gate_up).chunk(2, dim=-1)  # [tokens, channels]
        return linear(self.module.act_fn(gate) * up, down)  # type: ignore[operator]
