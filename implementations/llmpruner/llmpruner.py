"""LLM-Pruner: remove the least important coupled structures (Ma et al., NeurIPS 2023).

Weights that depend on each other are removed together: a head with its rows of `q`, `k`, `v` and
its columns of `o`, a channel with its rows of `gate` and `up` and its column of `down`. Gradients
on a few sentences estimate how the loss would change without such a group. Every block except the
first and last few loses the same share of its groups, those that score lowest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor

from implementations.harness import (
    BackwalkedBlock,
    Capabilities,
    Count,
    Kind,
    LanguageModel,
    Ratio,
    Tokens,
    UnitMethod,
    backwalk,
    between_ends,
    saliences,
    vector_scores,
)

AGGREGATIONS: dict[str, Callable[[Tensor], Tensor]] = {  # [layers, units, width] -> [units, width]
    "sum": lambda vectors: vectors.sum(dim=0),
    "prod": lambda vectors: vectors.prod(dim=0),
    "max": lambda vectors: vectors.amax(dim=0),
    "last": lambda vectors: vectors[-1],  # o or down: if zeroed, the group has no effect
}


class LLMPruner(UnitMethod):
    """Remove KV groups and MLP channels by Taylor importance, the same share of each inner layer.

    Source: Ma et al., arXiv:2305.11627, the strategy `block` of its code.
    """

    capabilities = Capabilities(granularity=("kv-groups", "channels"), calibration="gradient")
    least = 1

    sparsity: Ratio = 0.2
    """Share of the weights in the decoder's linear layers to remove."""
    taylor: Literal["param_first", "param_second", "param_mix", "vectorize"] = "param_first"
    """Score of a row or column: per weight to first, second or both orders, or as one vector."""
    aggregation: Literal["sum", "prod", "max", "last"] = "sum"
    """How the scores of a group's layers are combined; `last` uses only `o` or `down`."""
    first: Ratio = 0.125
    """Share of the decoder layers at the start that are not pruned: 4 of 32."""
    last: Ratio = 0.0625
    """Share of the decoder layers at the end that are not pruned: 2 of 32."""
    samples: Count = 10
    """Number of calibration samples to use, from the first (N)."""

    def taking_part(self, model: LanguageModel) -> Tensor:
        """Mark the blocks that are pruned: those between the exempt ends."""
        return between_ends(len(model.blocks), self.first, self.last)

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Score all units backwards, remove the lowest of each block and return the new widths."""
        sentences = next(calibration.chunks(self.samples))
        second = self.taylor in ("param_second", "param_mix")
        roles = model.blocks[0].linears()
        scores: list[list[Tensor]] = [[] for _ in model.blocks]
        for back in backwalk(model, sentences, gradients=roles, squares=second, edits=False):
            salience = self.salience(back)
            scores[back.index] = [self.score(back, kind, salience).cpu() for kind in self.kinds]
            del back, salience  # frees their memory before the next block is differentiated
        return self.remove_lowest(model, scores)

    def salience(self, block: BackwalkedBlock) -> dict[str, Tensor]:
        """Return the salience of each weight of a block, with its sign, `[out, in]` by role."""
        if self.taylor == "param_second":  # F w^2 with F = 1/N sum_j g_j^2
            return {r: block.squares[r] * w.weight.square() for r, w in block.linears().items()}
        if self.taylor == "param_mix":  # g w - F w^2 / 2, formulas (4) and (5)
            return saliences(block, block.gradients, block.squares)
        return saliences(block, block.gradients)  # g w, formula (3) to first order

    def score(self, block: BackwalkedBlock, kind: Kind, salience: dict[str, Tensor]) -> Tensor:
        """Return the importance of the units of a block, fp64 `[units]`.

        Rows and columns of the same inner feature are first combined over the layers of the group.
        The features of a unit are then added up.
        """
        vectors = vector_scores(block, kind, salience, whole=self.taylor == "vectorize")
        return AGGREGATIONS[self.aggregation](vectors).sum(dim=-1)
