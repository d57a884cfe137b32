"""FASP: remove the columns that contribute least and refit the others (Hu et al., arXiv 2025).

A column of `down` is fed by one row of `gate` and `up` only, and a column of `o` by one row of `v`.
FASP therefore selects columns in the second layer of each pair. The rows that feed them in the
first layer are removed without further loss. The remaining columns of the second layer are fitted
by least squares to reproduce the output of the full layer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from implementations.harness import (
    Capabilities,
    Gram,
    Kind,
    LanguageModel,
    NonNegative,
    Ratio,
    Tokens,
    UnitMethod,
    WalkedBlock,
    cuts,
    keep_refitted,
    keep_units,
    smallest,
    walk,
)


class FASP(UnitMethod):
    """Remove value dimensions and MLP channels by column sums of Wanda's score; refit the rest.

    Source: Hu et al., arXiv:2501.09412.
    """

    capabilities = Capabilities(
        granularity=("value-dims", "channels"), calibration="forward", parallel=True
    )
    least = 1

    sparsity: Ratio = 0.2
    """Share of the weights in the decoder's linear layers to remove."""
    restore: bool = True
    """Refit the remaining columns by least squares."""
    damping: NonNegative = 0.01
    """Damping of the fit, added to the Gram matrix's diagonal, as a fraction of its mean."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Prune attention, then the MLP, block by block; return the number of removed units."""
        lost = self.widths(model, torch.ones(len(model.blocks)))
        for block in walk(model, calibration):
            value_dims, channels = lost[block.index]
            self.cut(block, "o", "value-dims", value_dims)
            self.cut(block, "down", "channels", channels)
        return {"value_dims_lost": [v for v, _ in lost], "channels_lost": [c for _, c in lost]}

    def cut(self, block: WalkedBlock, role: str, kind: Kind, count: int) -> None:
        """Remove the `count` units whose columns in the layer `role` score lowest; refit it."""
        if not count:
            return
        linear, gram = block.linears()[role], block.observe(Gram, role)[role].matrix
        columns = next(part.places for part in cuts(block, kind) if part.linear is linear)
        scores = column_scores(linear, gram)[columns.to(gram.device)].sum(dim=1)  # [units]
        keep = ~smallest(scores, count)
        if self.restore:
            keep_refitted(block, kind, keep, gram, self.damping)
        else:
            keep_units(block, kind, keep)


def column_scores(linear: nn.Linear, gram: Tensor) -> Tensor:
    """Sum Wanda's score over each column, `||W_:,j||_1 * ||X_j||_2`, `[in]`."""
    norms = gram.diagonal().clamp(min=0).sqrt()  # ||X_j||_2
    return linear.weight.float().abs().sum(dim=0) * norms
