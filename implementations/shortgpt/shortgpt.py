"""ShortGPT: drop the blocks that turn the hidden state least (Men et al., Findings of ACL 2025)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from implementations.harness import (
    Block,
    Capabilities,
    LanguageModel,
    Method,
    Ratio,
    Tokens,
    cheapest,
    check_budget,
    remove_blocks,
    walk,
)


class BlockInfluence:
    """`1 - E[cos(x, y)]` of a block's input `x` and output `y` over all tokens, Eq. (1)."""

    def __init__(self, hidden: int, device: torch.device | str = "cpu") -> None:
        self.turned = torch.zeros((), dtype=torch.float64, device=device)
        self.count = 0

    @property
    def value(self) -> float:
        """The influence, in [0, 2]."""
        return float(self.turned) / self.count

    def update(self, x: Tensor, y: Tensor) -> None:
        """Add tokens of the residual stream before and after the block, `[tokens, hidden]`."""
        # 1 - cos is half the squared distance of the two directions, and exactly 0 for y = x.
        turn = normalize(x.double(), dim=-1) - normalize(y.double(), dim=-1)  # [tokens, hidden]
        self.turned += turn.square().sum() / 2  # a mean of ratios: every token counts alike
        self.count += len(x)

    def finite(self) -> bool:
        """Say whether no NaN and no infinity was seen."""
        return bool(self.turned.isfinite())


class ShortGPT(Method):
    """Remove the decoder blocks of lowest Block Influence, ranked once on the dense model.

    Source: Men et al., arXiv:2403.03853, Section 3.
    """

    capabilities = Capabilities(granularity=("blocks",), calibration="forward")

    sparsity: Ratio = 0.25
    """Share of the decoder blocks' linear weights to remove, met by whole blocks."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Refuse also a budget that would leave no block."""
        super().check(model, calibration)
        check_budget(costs(model.blocks), self.sparsity)

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Remove the blocks of lowest influence, return the influences and which went."""
        influence = torch.tensor(
            [
                block.observe(block=BlockInfluence)["block"].value
                for block in walk(model, calibration, edits=False)
            ],
            dtype=torch.float64,
        )
        lowest = cheapest(influence, costs(model.blocks), self.sparsity)
        removed = lowest.nonzero().flatten().tolist()
        remove_blocks(model, removed)
        return {"influence": influence.tolist(), "removed": removed}


def costs(blocks: list[Block]) -> Tensor:
    """Count the weights of each block's linear layers, `[blocks]`."""
    return torch.tensor(
        [sum(linear.weight.numel() for linear in block.linears().values()) for block in blocks]
    )
