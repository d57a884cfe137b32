"""KVPruner: narrow attention, most where perplexity changes least (Lv et al., ICASSP 2025).

First, the attention of one block after another is narrowed in a trial, and the change in perplexity
is measured. Blocks that hardly matter get a high pruning ratio, the others a low one; the mean is
the requested ratio. Then every block loses the dimensions of its heads that score lowest over `q`,
`k`, `v` and `o` together. They are removed in pairs that are rotated together, with the same number
in every KV head.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from implementations.harness import (
    Attention,
    Capabilities,
    Count,
    Kind,
    LanguageModel,
    Ratio,
    Tokens,
    UnitMethod,
    backwalk,
    capped,
    cheapest,
    keep_units,
    masked,
    perplexity,
    prefixes,
    smallest,
    total_weights,
    track,
    unit_costs,
)

STEEPEST = 10.0  # maximum exponent of the inverse form, reached by blocks that hardly matter


class KVPruner(UnitMethod):
    """Remove rotary pairs with their value dimensions; perplexity sets the ratio of each layer.

    Source: Lv et al., arXiv:2409.11057, as others describe it, without the fine-tuning.
    """

    capabilities = Capabilities(
        granularity=("rotary-pairs", "value-dims"),
        calibration="gradient",
        refuses={"opt": "it does not rotate queries and keys, so it has no rotary pairs"},
    )

    sparsity: Ratio = 0.1
    """Share of the weights in the decoder's linear layers to remove, all of it from
    attention."""
    allocation: Literal["ppl", "rank", "uniform"] = "ppl"
    """Basis of a decoder layer's ratio: its increase in perplexity, the rank of that, or none."""
    form: Literal["decay", "inverse"] = "decay"
    """Weight of an increase with `ppl`: exp(-x) or exp(1 / x), with x in units of the mean."""
    score: Literal["taylor", "l1", "l2"] = "taylor"
    """Score of a weight: absolute value of weight times gradient, absolute value, or square."""
    balance: bool = False
    """Divide the scores of each matrix by their mean before averaging over the four matrices."""
    tie: Literal["joint", "separate"] = "joint"
    """Whether `v` and `o` lose the dimensions of `q` and `k`, or as many selected separately."""
    trial: Ratio | None = None
    """Share of its pairs that a decoder layer loses in a trial; None: the mean of all ratios."""
    probes: Count = 4
    """Number of calibration samples for perplexities and gradients."""
    most: Ratio = 0.9
    """Maximum share of its pairs that a decoder layer loses, before rounding; one pair stays."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Score the channels, try every block alone, allocate the pairs and remove them."""
        probes = next(calibration.chunks(self.probes))
        scores = self.scores(model, probes)
        details: dict[str, Any] = {}
        weights = torch.ones(len(scores), dtype=torch.float64)
        if self.allocation != "uniform":
            dense, alone = self.perplexities(model, scores, probes)
            details = {"perplexity_dense": dense, "perplexity_alone": alone}
            rises = (torch.tensor(alone, dtype=torch.float64) - dense).clamp(min=0)
            weights = self.allocation_weights(rises)
        pairs, costs = self.slots(model)
        lost = whole(self.ratios(model, weights) * pairs, costs)
        for block, score, count in zip(model.visit(), scores, lost.tolist(), strict=True):
            for kind, keep in self.kept(score, count).items():
                keep_units(block, kind, keep)
        heads = torch.tensor([block.attention.kv_heads for block in model.blocks])
        left = pairs - lost
        return details | {
            "pairs": left.tolist(),
            # Share of the dense cache if attention stored only the kept dimensions; ours does not.
            "cache_could_be": int(heads @ left) / max(int(heads @ pairs), 1),
        }

    def scores(self, model: LanguageModel, probes: Tokens) -> list[Tensor]:
        """Score the channels of every block, `[4, kv heads, head size]` each."""
        scores: list[Tensor] = []
        if self.score == "taylor":
            for back in backwalk(model, probes, gradients=("q", "k", "v", "o"), edits=False):
                scores.insert(0, self.channel_scores(back.attention, back.gradients))
        else:
            for block in model.visit():
                scores.append(self.channel_scores(block.attention, {}))
        return scores

    def channel_scores(self, attention: Attention, gradients: dict[str, Tensor]) -> Tensor:
        """Score the channels of `q`, `k`, `v` and `o`, `[4, kv heads, head size]`, fp64.

        A channel is a row, or a column for `o`. Scores of query heads are averaged per KV head.
        """
        q, k, v, o = (
            self.sizes(getattr(attention, role).weight.double(), gradients.get(role))
            for role in ("q", "k", "v", "o")
        )
        keys = (attention.kv_heads, attention.head_size)
        queries = (attention.kv_heads, attention.group, attention.head_size)
        scores = torch.stack(
            [
                q.sum(dim=1).view(queries).mean(dim=1),
                k.sum(dim=1).view(keys),
                v.sum(dim=1).view(keys),
                o.sum(dim=0).view(queries).mean(dim=1),
            ]
        )
        means = scores.mean(dim=(1, 2), keepdim=True)
        return scores / means.where(means > 0, 1) if self.balance else scores

    def sizes(self, weight: Tensor, gradient: Tensor | None) -> Tensor:
        """Return the score of every weight, in the shape of `weight`."""
        if gradient is not None:
            return (weight * gradient).abs()
        return weight.abs() if self.score == "l1" else weight.square()

    def kept(self, scores: Tensor, count: int) -> dict[Kind, Tensor]:
        """Mark the units to keep, `[units]` by kind, if each KV head loses `count` pairs.

        `scores [4, kv heads, head size]` are those of `channel_scores`.
        """
        if self.tie == "joint":
            pairs = ~smallest(paired(scores.mean(dim=0)), count)  # [kv heads, head size / 2]
            values = torch.cat([pairs, pairs], dim=1)  # [kv heads, head size]
        else:
            pairs = ~smallest(paired(scores[:2].mean(dim=0)), count)
            values = ~smallest(scores[2:].mean(dim=0), 2 * count)
        return {"rotary-pairs": pairs.flatten(), "value-dims": values.flatten()}

    def perplexities(
        self, model: LanguageModel, scores: list[Tensor], probes: Tokens
    ) -> tuple[float, list[float]]:
        """Return the dense perplexity and, per block, that with only its attention narrowed."""
        ratio = self.rate(model) if self.trial is None else self.trial
        dense, alone = perplexity(model, probes).value, []
        sizes = [len(unit_costs(block, *self.kinds)) for block in model.blocks]
        starts = track(prefixes(model, probes), "trying blocks", len(sizes))
        for (block, start_here), score in zip(starts, scores, strict=True):
            half = block.attention.head_size // 2
            count = min(max(round(ratio * half), 1), half - 1)
            removed = [torch.zeros(units, dtype=torch.bool) for units in sizes]
            removed[block.index] = ~torch.cat(list(self.kept(score, count).values())).cpu()
            with start_here(), masked(model, torch.cat(removed), *self.kinds):
                alone.append(perplexity(model, probes).value)
        return dense, alone

    def allocation_weights(self, rises: Tensor) -> Tensor:
        """Turn the increases in perplexity `[blocks]` into weights that scale the ratios."""
        if self.allocation == "rank":  # equation (2)
            ranks = rises.argsort(stable=True).argsort()  # 0: smallest increase
            return len(rises) - ranks - 0.5
        mean = rises.mean()
        if mean == 0:
            return torch.ones_like(rises)
        if self.form == "inverse":
            return (mean / rises).clamp(max=STEEPEST).exp()
        return (-rises / mean).exp()  # equation (1)

    def ratios(self, model: LanguageModel, weights: Tensor) -> Tensor:
        """Return the share of its pairs that every block loses, `[blocks]`, fp64.

        The shares are proportional to `weights [blocks]` but limited to `most`; the excess is
        distributed to the other blocks.
        """
        pairs, costs = self.slots(model)
        sizes = (pairs * costs).double()  # the weights of attention
        taken = capped(weights * sizes, self.rate(model) * float(sizes.sum()), self.at_most(model))
        return taken / sizes.clamp(min=1)

    def slots(self, model: LanguageModel) -> tuple[Tensor, Tensor]:
        """Return the pairs per KV head of each block, and the cost of one pair in every head.

        Both have shape `[blocks]`. The cost, in weights, includes the value dimensions. A block
        without KV heads has no pairs.
        """
        pairs, costs = [], []
        for block in model.blocks:
            half = block.attention.head_size // 2 if block.attention.kv_heads else 0
            pairs.append(half)
            costs.append(int(unit_costs(block, *self.kinds).sum()) // max(half, 1))
        return torch.tensor(pairs), torch.tensor(costs)

    def at_most(self, model: LanguageModel) -> Tensor:
        """Return the maximum number of weights that every block can lose, `[blocks]`, fp64."""
        pairs, costs = (counts.double() for counts in self.slots(model))
        return torch.minimum(self.most * pairs, pairs - 1).clamp(min=0) * costs

    def costs(self, model: LanguageModel) -> Tensor:
        """Return the weights of every unit, `[units]`: one pair in every KV head of a block."""
        pairs, costs = self.slots(model)
        return costs.repeat_interleave(pairs)

    def max_sparsity(self, model: LanguageModel) -> float:
        """Return the largest possible sparsity: what attention can lose of all linear weights."""
        return float(self.at_most(model).sum()) / total_weights(model)


def paired(scores: Tensor) -> Tensor:
    """Add the scores of dimensions `c` and `c + h`: `[kv heads, 2 h]` becomes `[kv heads, h]`."""
    halves: Tensor = scores.unflatten(-1, (2, scores.shape[-1] // 2))  # [kv heads, 2, h]
    return halves.sum(dim=-2)


def whole(amounts: Tensor, costs: Tensor) -> Tensor:
    """Round `amounts [blocks]` down to whole pairs, then the largest remainders up.

    The number that is rounded up keeps the total cost, with `costs [blocks]` weights per pair,
    as close as possible to its value before rounding.
    """
    counts = amounts.floor()
    rest = amounts - counts
    left = float((rest * costs).sum() / costs.sum().clamp(min=1))
    return (counts + cheapest(-rest, costs, left)).long()
