"""REAP: remove the experts that add least to the tokens routed to them (Lasby et al., ICLR 2026).

Without an expert, a token that had chosen it loses the expert's output times its gate. An expert is
scored by the size of this loss, averaged only over its own tokens, so that a rare expert with a
large effect is kept. All scores come from one pass over the dense model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from implementations.harness import (
    Capabilities,
    ExpertMethod,
    Experts,
    LanguageModel,
    Ratio,
    Routed,
    Tokens,
    routed,
    smallest,
    walk,
)

QUANTILE, FRACTION, EARLY = 0.995, 0.1, 0.75  # what defines a super expert


class REAP(ExpertMethod):
    """Remove the experts with the smallest mean of gate value times output norm.

    Source: Lasby et al., arXiv:2510.13999, and the official code.
    """

    capabilities = Capabilities(granularity=("experts",), calibration="forward")

    sparsity: Ratio = 0.25
    """Share of the decoder layers' weights to remove, as equally many experts of each."""
    score: Literal[
        "reap", "frequency", "weighted_frequency", "ean_mean", "ean_sum", "weighted_ean_sum"
    ] = "reap"
    """The score of an expert: that of the paper, or one that its code compares."""
    protect: bool = False
    """Keep super experts: those of the first decoder layers with the largest activations of all."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Score all experts on the dense model, then remove; return scores and numbers left."""
        tallies: dict[int, Tally] = {}
        for block in walk(model, calibration, edits=False):
            if block.experts:
                tallies[block.index] = Tally.of(block.experts.count, model.accelerator)
                for batch in routed(block):
                    tallies[block.index].update(block.experts, batch)
        scores = torch.stack([SCORES[self.score](tally) for tally in tallies.values()])
        ranked = scores
        if self.protect:
            peaks = torch.stack([tally.peaks for tally in tallies.values()])
            ranked = scores.masked_fill(super_experts(peaks), torch.inf)
        removed = smallest(ranked, self.lost(model))  # [blocks, experts]
        left = self.keep(model, dict(zip(tallies, ~removed, strict=True)))
        return left | {
            "removed": [mask.nonzero().flatten().tolist() for mask in removed],
            "scores": scores.tolist(),
        }


@dataclass
class Tally:
    """Sums over the tokens routed to each expert of a block, fp64 `[experts]` each."""

    tokens: Tensor
    """Their number, `|X_j|`."""
    gates: Tensor
    """The sum of the gates `g_j`."""
    norms: Tensor
    """The sum of the norms `||f_j||_2` of the outputs, without the gates."""
    products: Tensor
    """The sum of `g_j ||f_j||_2`."""
    peaks: Tensor
    """The largest absolute entry of the outputs."""

    @classmethod
    def of(cls, experts: int, device: torch.device) -> Tally:
        """Return a tally of no tokens."""
        return cls(*torch.zeros(5, experts, dtype=torch.float64, device=device))

    def update(self, experts: Experts, batch: Routed) -> None:
        """Add the tokens of a micro-batch, with the gates that the model applies."""
        for j in range(experts.count):
            token, slot = (batch.chosen == j).nonzero(as_tuple=True)
            if not len(token):
                continue
            f = experts.output(j, batch.x[token]).float()  # [tokens of j, hidden]
            norm, gate = f.norm(dim=-1).double(), batch.gates[token, slot].double()
            self.tokens[j] += len(token)
            self.gates[j] += gate.sum()
            self.norms[j] += norm.sum()
            self.products[j] += (gate * norm).sum()
            self.peaks[j] = torch.maximum(self.peaks[j], f.abs().max())


SCORES: dict[str, Callable[[Tally], Tensor]] = {
    "reap": lambda tally: tally.products / tally.tokens.clamp(min=1),  # S_j
    "frequency": lambda tally: tally.tokens,
    "weighted_frequency": lambda tally: tally.gates,
    "ean_mean": lambda tally: tally.norms / tally.tokens.clamp(min=1),
    "ean_sum": lambda tally: tally.norms,
    "weighted_ean_sum": lambda tally: tally.products,
}
"""Scores by name; an expert without tokens has a score of zero."""


def super_experts(peaks: Tensor) -> Tensor:
    """Mark the experts to protect by the peaks of their outputs, `[blocks, experts]`.

    They exceed a high quantile of all, and a tenth of the largest, in the first three quarters of
    the blocks with experts.
    """
    protected = (peaks > peaks.quantile(QUANTILE)) & (peaks > FRACTION * peaks.max())
    protected[int(EARLY * len(peaks)) :] = False
    return protected
