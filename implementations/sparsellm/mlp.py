"""The MLP of one block, as SparseLLM sees it: layers, dense weights and activations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import linear

from implementations.harness import WalkedBlock

ROLES = ("gate", "up", "down")


class Inputs:
    """The inputs of a layer in fp32, `[tokens, in]` for each micro-batch."""

    def __init__(self, features: int, device: torch.device | str = "cpu") -> None:
        self.batches: list[Tensor] = []

    def update(self, x: Tensor) -> None:
        """Add the tokens `x [..., in]`."""
        self.batches.append(x.flatten(end_dim=-2).float())

    def finite(self) -> bool:
        """Return whether all inputs were finite."""
        return all(bool(x.isfinite().all()) for x in self.batches)

    def reduce(self) -> None:
        """Do nothing, because processes do not share the calibration set of this method."""


@dataclass
class Variables:
    """Activations of an MLP for one micro-batch; `Z`, `S` and `P` are moved."""

    X: Tensor
    """Inputs of up and gate, `[tokens, hidden]`."""
    Y: Tensor
    """Outputs of the dense MLP, `[tokens, hidden]`."""
    Z: Tensor
    """Variables for the outputs of up, `[tokens, channels]`."""
    S: Tensor | None
    """Variables for the outputs of gate, `[tokens, channels]`; None without a gate."""
    P: Tensor
    """Variables for the inputs of down, `[tokens, channels]`."""


class MLP:
    """The layers of a dense MLP, copies of their weights, and its variables by micro-batch."""

    def __init__(self, block: WalkedBlock, X: Iterable[Tensor], P: Iterable[Tensor]) -> None:
        self.where = f"block {block.index}"
        layers = block.linears()
        self.layers = {role: layer for role, layer in layers.items() if role in ROLES}
        self.dense = {role: layer.weight.float().clone() for role, layer in self.layers.items()}
        parent = block.module.get_submodule(block.family.up.rpartition(".")[0])
        name = "act_fn" if "gate" in self.layers else "activation_fn"
        self.activation = cast(Callable[[Tensor], Tensor], getattr(parent, name))
        self.batches = [
            Variables(
                X=x,
                Y=self.output("down", p),
                Z=self.output("up", x),
                S=self.output("gate", x) if "gate" in self.layers else None,
                P=p,
            )
            for x, p in zip(X, P, strict=True)
        ]

    def output(self, role: str, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the output `[tokens, out]` of a layer, or of another weight in its place."""
        layer = self.layers[role]
        weight = layer.weight.float() if weight is None else weight
        return linear(x, weight, None if layer.bias is None else layer.bias.float())

    def product(self, Z: Tensor, S: Tensor | None) -> Tensor:
        """Return the input of down, `act(S) * Z`, or `act(Z)` without a gate."""
        return self.activation(Z) if S is None else self.activation(S) * Z

    def error(self) -> float:
        """Return the squared error of the outputs for the inputs `X`, relative to `Y`."""
        error = total = 0.0
        for v in self.batches:
            S = self.output("gate", v.X) if "gate" in self.layers else None
            A = self.product(self.output("up", v.X), S)
            error += float((self.output("down", A) - v.Y).square().sum())
            total += float(v.Y.square().sum())
        return error / total
