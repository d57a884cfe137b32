"""Train inside one block of a walk: run it with other weights and compare its outputs with targets.

    targets = block_outputs(block)                           # before any edit
    y = run_with_weights(block, i, {"down": weight * mask})  # differentiable in the given weights
    gradient_step(optimizer, distance(y, targets[i]), f"block {block.index}")

The block keeps its own weights until the method writes new ones, also after an exception. Targets
are one tensor per micro-batch on the host.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from implementations.harness.errors import NumericsError
from implementations.harness.prune.walk import WalkedBlock


def block_outputs(block: WalkedBlock) -> list[Tensor]:
    """Return the outputs of a block, `[batch, length, hidden]` per micro-batch, on the host."""
    return [y.to("cpu", copy=True) for _, y in block.run()]


def run_with_weights(block: WalkedBlock, i: int, weights: Mapping[str, Tensor]) -> Tensor:
    """Return the output for micro-batch `i` with other `weights [out, in]` of layers, by role.

    The weights may be of a wider dtype than the block, and gradients flow into them.
    """
    layers, boundary = block.linears(), block.boundary
    named = {
        f"{getattr(block.family, role)}.weight": weight.to(layers[role].weight.dtype)
        for role, weight in weights.items()
    }
    return boundary.through(block, boundary.hidden[i].to(boundary.accelerator), named)


def output_error(
    block: WalkedBlock, targets: Sequence[Tensor], weights: Mapping[str, Tensor]
) -> float:
    """Return the squared error of a block with other `weights`, relative to the squared targets."""
    error = total = 0.0
    for i, host in enumerate(targets):
        target = host.to(block.boundary.accelerator).double()
        with torch.no_grad():
            error += float((run_with_weights(block, i, weights) - target).square().sum())
        total += float(target.square().sum())
    return error / total if total else 0.0


def gradient_step(optimizer: torch.optim.Optimizer, loss: Tensor, where: str) -> None:
    """Take one step of `optimizer`; gradients of other parameters are not computed.

    Raises `NumericsError`, which names the place `where`, for a loss that is not finite.
    """
    if not math.isfinite(value := float(loss.detach())):
        raise NumericsError(
            f"{where}: the loss inside the block is {value}; use a lower learning rate"
        )
    optimizer.zero_grad()
    loss.backward(inputs=[p for group in optimizer.param_groups for p in group["params"]])
    optimizer.step()
