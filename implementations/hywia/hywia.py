"""HyWIA: fuse coarse and fine importance scores with attention (Liu et al., AAAI 2025).

The procedure is LLM-Pruner's with a different score. From the same gradients, each head or channel
is scored twice: with each of its rows and columns as one vector (coarse), and weight by weight
(fine). Each sample casts one vote of either kind. Attention over all votes, with their consensus
as the query, decides how much each vote counts. The units that score lowest in their block are
removed.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from implementations.harness import (
    BackwalkedBlock,
    Capabilities,
    Count,
    Kind,
    LanguageModel,
    NonNegative,
    NumericsError,
    Ratio,
    Tokens,
    UnitMethod,
    backwalk,
    between_ends,
    saliences,
    unit_costs,
    vector_scores,
)


class HyWIA(UnitMethod):
    """Remove KV groups and MLP channels by coarse and fine Taylor importance, fused by attention.

    Source: Liu et al., arXiv:2403.10799. Both scores are LLM-Pruner's; how they are fused is ours.
    """

    capabilities = Capabilities(granularity=("kv-groups", "channels"), calibration="gradient")
    least = 1

    sparsity: Ratio = 0.2
    """Share of the weights in the decoder's linear layers to remove."""
    fusion: Literal["attention", "coarse", "fine"] = "attention"
    """Both views, fused by attention over samples, or one view from all gradients together."""
    sharpness: NonNegative = 10.0
    """How much more a vote near the consensus counts (1 / tau); with 0, all votes count equally."""
    order: Literal[1, 2] = 2
    """Order of the loss expansion in the fine view."""
    first: Ratio = 0.125
    """Share of the decoder layers at the start that are not pruned: 4 of 32."""
    last: Ratio = 0.0625
    """Share of the decoder layers at the end that are not pruned: 2 of 32."""
    samples: Count = 10
    """Number of calibration samples to use, from the first (B)."""

    def taking_part(self, model: LanguageModel) -> Tensor:
        """Mark the blocks that are pruned: those between the exempt ends."""
        return between_ends(len(model.blocks), self.first, self.last)

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Score all units in the backward walk and remove the lowest of each block.

        Returns the widths and, for every block and kind, the total weight of the fine votes, which
        is None for blocks that are not pruned.
        """
        empty = torch.empty(0)
        scores = [[empty for _ in self.kinds] for _ in model.blocks]
        weights: dict[Kind, list[float | None]] = {k: [None] * len(scores) for k in self.kinds}
        roles = model.blocks[0].linears()
        sentences = next(calibration.chunks(self.samples))
        taking_part = self.taking_part(model).tolist()
        second = self.order == 2
        for back in backwalk(model, sentences, gradients=roles, squares=second, edits=False):
            kinds = [kind for kind in self.kinds if len(unit_costs(back, kind))]
            fused = self.scores(back, kinds if taking_part[back.index] else [])
            scores[back.index] = [fused.get(kind, (empty, 0.0))[0].cpu() for kind in self.kinds]
            for kind, (_, fine) in fused.items():
                weights[kind][back.index] = fine
            del back  # frees its gradients before the next block is differentiated
        details = {f"{kind.replace('-', '_')}_fine": values for kind, values in weights.items()}
        return self.remove_lowest(model, scores) | details

    def scores(self, block: BackwalkedBlock, kinds: list[Kind]) -> dict[Kind, tuple[Tensor, float]]:
        """Return the importance of a block's units, fp64 `[units]`, and the fine votes' weight."""
        if self.fusion != "attention":
            one = self.views(block, kinds, block.gradients)[self.fusion == "fine"]
            for kind, scores in one.items():
                check_votes(scores, f"block {block.index}, {kind}")
            return {kind: (scores, float(self.fusion == "fine")) for kind, scores in one.items()}
        votes: dict[Kind, list[list[Tensor]]] = {kind: [[], []] for kind in kinds}
        for gradients in block.by_sample() if kinds else ():
            for column, view in enumerate(self.views(block, kinds, gradients)):
                for kind, scores in view.items():
                    votes[kind][column].append(scores)
        fused = {}
        for kind, both in votes.items():
            coarse, fine = (torch.stack(scores) for scores in both)  # [samples, units]
            fused[kind] = fuse(coarse, fine, self.sharpness, f"block {block.index}, {kind}")
        return fused

    def views(
        self, block: BackwalkedBlock, kinds: list[Kind], gradients: dict[str, Tensor]
    ) -> tuple[dict[Kind, Tensor], dict[Kind, Tensor]]:
        """Return the coarse and the fine importance of a block's units, by kind, fp64 `[units]`."""
        first = saliences(block, gradients)  # w g
        second = saliences(block, gradients, block.squares) if self.order == 2 else first
        coarse, fine = {}, {}
        for kind in kinds:
            # C = sum_v | sum_e w g |,  E = sum_v sum_e | w g - F w^2 / 2 |
            coarse[kind] = vector_scores(block, kind, first, whole=True).sum(dim=(0, 2))
            fine[kind] = vector_scores(block, kind, second, whole=False).sum(dim=(0, 2))
        return coarse, fine


def fuse(coarse: Tensor, fine: Tensor, sharpness: float, where: str) -> tuple[Tensor, float]:
    """Fuse the votes `[samples, units]` of both views; return `[units]` and the fine votes' weight.

    Votes are first scaled to mean 1. The query is their mean; keys and values are the votes
    themselves. Raises `NumericsError`, naming `where`, for a vote whose mean is not positive, for
    example because its gradients are zero.
    """
    votes = torch.cat([coarse, fine])  # [2 samples, units]
    check_votes(votes, where)
    votes = votes / votes.mean(dim=1, keepdim=True)  # c_b = C_b / mean(C_b), e_b = E_b / mean(E_b)
    query = votes.mean(dim=0, keepdim=True)
    weights = (sharpness * cosine_similarity(query, votes, dim=1)).softmax(dim=0)
    return weights @ votes, float(weights[len(coarse) :].sum())


def check_votes(votes: Tensor, where: str) -> None:
    """Raise `NumericsError`, naming `where`, if a mean of `votes [..., units]` is not above 0."""
    if not bool((votes.mean(dim=-1) > 0).all()):
        raise NumericsError(
            f"{where}: a calibration sample has no gradient, so its units cannot be ranked; "
            "check the weights and the calibration text, or load the model in a wider dtype"
        )
