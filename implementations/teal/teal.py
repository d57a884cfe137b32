"""TEAL: zero the small inputs of every linear layer, token by token (Liu et al., ICLR 2025).

A column of a weight that meets a zero input need not be read. TEAL gives every linear layer a
threshold, so that a chosen share of its inputs lies below it on general text. Within a decoder
layer, a greedy search decides how large the share of each linear layer is.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import Tensor

from implementations.harness import (
    ActivationMethod,
    Block,
    Capabilities,
    Count,
    Drop,
    Kept,
    Positive,
    Quantiles,
    WalkedBlock,
    greedy_shares,
)


class TEAL(ActivationMethod):
    """Zero the inputs of each linear layer that are not above its threshold in size.

    Source: Liu et al., ICLR 2025, arXiv:2408.14690, and the authors' code.
    """

    capabilities = Capabilities(
        granularity=("activations",),
        calibration="forward",
        when="input-dependent",
        prompted=True,
        changes=(),
    )
    tiny_settings: ClassVar[dict[str, Any]] = {"step": 1.0, "samples": 1}

    allocation: Literal["greedy", "uniform"] = "greedy"
    """Shares of the layers of a decoder layer: found by a greedy search, or all equal."""
    step: Positive = 0.05
    """Share of a square matrix that a step of the search adds, in weights (a)."""
    samples: Count = 2
    """Calibration samples on which the search compares outputs."""

    def calibrate(self, block: WalkedBlock, share: float) -> dict[str, Drop]:
        """Return the threshold and the share of each layer."""
        inputs: list[Tensor] = []
        with block.watching(Quantiles) as seen:
            for x, _ in block.run():  # dense
                if self.allocation == "greedy" and len(inputs) < self.samples:
                    inputs.append(x.clone())

        def drop(role: str, dropped: float) -> Drop:
            return Drop(*seen[role].threshold(dropped))

        shares = dict.fromkeys(seen, share)
        if inputs:
            shares = greedy_shares(
                block,
                inputs,
                share,
                self.step,
                lambda role, dropped: self.kept(block, role, drop(role, dropped)),
            )
        return {role: drop(role, dropped) for role, dropped in shares.items()}

    def kept(self, block: Block, role: str, drop: Drop) -> Kept:
        """Mark the inputs above the threshold in size."""
        return lambda x: x.float().abs() > drop.limit  # fp16 would round the limit
