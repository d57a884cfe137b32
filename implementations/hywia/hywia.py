"""HyWIA: score units as a whole and weight by weight, and attend to both (Liu et al., AAAI 2025).

LLM-Pruner's course with another score. From the same gradients a head or channel is judged twice:
its rows and columns each as one vector (coarse), and weight by weight (fine). Each sample casts a
vote of either kind. Attention over all votes, asked for their consensus, decides how much each one
counts; the units that score lowest in their block go.
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
    keep_units,
    saliences,
    smallest,
    unit_costs,
    vector_scores,
    widths_left,
)


class HyWIA(UnitMethod):
    """Remove KV groups and channels by coarse and fine Taylor importance, fused by attention.

    Source: Liu et al., arXiv:2403.10799. Both scores are LLM-Pruner's; how they are fused is ours.
    """

    capabilities = Capabilities(granularity=("kv-groups", "channels"), calibration="gradient")
    least = 1

    sparsity: Ratio = 0.2
    """Share of the decoder blocks' linear weights to remove."""
    fusion: Literal["attention", "coarse", "fine"] = "attention"
    """Both views by attention over samples, or one of them from the gradients of all samples."""
    sharpness: NonNegative = 10.0
    """How much more a vote near the consensus counts (1 / tau); with 0 all count alike."""
    order: Literal[1, 2] = 2
    """Order to which the fine view expands the loss."""
    first: Ratio = 0.125
    """Share of the blocks, from the first, that are left as they are: 4 of 32."""
    last: Ratio = 0.0625
    """Share of the blocks, up to the last, that are left as they are: 2 of 32."""
    samples: Count = 10
    """Calibration samples to read, the first ones (B)."""

    def taking_part(self, model: LanguageModel) -> Tensor:
        """Mark the blocks between the ends."""
        return between_ends(len(model.blocks), self.first, self.last)

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Score all units on the walk back, remove the lowest of each block.

        Returns the widths and, for every block and kind, the weight of the fine votes together;
        null for blocks that take no part.
        """
        empty = torch.empty(0)
        scores = [[empty for _ in self.kinds] for _ in model.blocks]
        weights: dict[Kind, list[float | None]] = {k: [None] * len(scores) for k in self.kinds}
        roles = model.blocks[0].linears()
        sentences = next(calibration.chunks(self.samples))
        taking_part = self.taking_part(model).tolist()
        for back in backwalk(model, sentences, gradients=roles, squares=self.order == 2):
            kinds = [kind for kind in self.kinds if len(unit_costs(back, kind))]
            fused = self.scores(back, kinds if taking_part[back.index] else [])
            scores[back.index] = [fused.get(kind, (empty, 0.0))[0].cpu() for kind in self.kinds]
            for kind, (_, fine) in fused.items():
                weights[kind][back.index] = fine
        groups = [heads for heads, _ in scores]
        lost = self.widths(model, torch.ones(len(scores)), {"kv-groups": groups})
        for block, both, counts in zip(model.visit(), scores, lost, strict=True):
            for kind, units, count in zip(self.kinds, both, counts, strict=True):
                if count:
                    keep_units(block, kind, ~smallest(units, count))
        told = {f"{kind.replace('-', '_')}_fine": values for kind, values in weights.items()}
        return widths_left(model) | told

    def scores(self, block: BackwalkedBlock, kinds: list[Kind]) -> dict[Kind, tuple[Tensor, float]]:
        """Return the importance of a block's units, fp64 `[units]`, and what fine votes weigh."""
        if self.fusion != "attention":
            one = self.views(block, kinds, block.gradients)[self.fusion == "fine"]
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
        """Return the coarse and the fine importance of a block's units, fp64 `[units]` by kind."""
        first = saliences(block, gradients)  # w g
        second = saliences(block, gradients, block.squares) if self.order == 2 else first
        coarse, fine = {}, {}
        for kind in kinds:
            # C = sum_v | sum_e w g |,  E = sum_v sum_e | w g - F w^2 / 2 |
            coarse[kind] = vector_scores(block, kind, first, whole=True).sum(dim=(0, 2))
            fine[kind] = vector_scores(block, kind, second, whole=False).sum(dim=(0, 2))
        return coarse, fine


def fuse(coarse: Tensor, fine: Tensor, sharpness: float, where: str) -> tuple[Tensor, float]:
    """Fuse votes `[samples, units]` of either view; return `[units]` and what fine ones weigh.

    Votes have mean 1 first. The query is their mean, keys and values are the votes themselves.
    Raises `NumericsError` naming `where` for a vote that tells nothing, as without gradients.
    """
    votes = torch.cat([coarse, fine])  # [2 samples, units]
    means = votes.mean(dim=1, keepdim=True)
    if not bool((means > 0).all()):
        raise NumericsError(
            f"{where}: a sample has no gradient here, so it tells no unit from another; "
            "check the weights and the calibration text, or load the model in a wider dtype"
        )
    votes = votes / means  # c_b = C_b / mean(C_b), e_b = E_b / mean(E_b)
    query = votes.mean(dim=0, keepdim=True)
    weights = (sharpness * cosine_similarity(query, votes, dim=1)).softmax(dim=0)
    return weights @ votes, float(weights[len(coarse) :].sum())
