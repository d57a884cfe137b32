"""KVPruner: narrow attention, most where perplexity minds least (Lv et al., ICASSP 2025).

First the attention of one block after another is narrowed for trial, and perplexity says what that
costs: blocks that hardly matter get a high ratio, the others a low one, with the mean that was
asked for. Then every block loses the dimensions of its heads that weigh least in `q`, `k`, `v` and
`o` together: the pairs of dimensions that are rotated together, as many in every KV head.
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
    smallest,
    track,
    unit_costs,
)

STEEPEST = 10.0  # what the exponent of the inverse is cut off at, where a block hardly matters


class KVPruner(UnitMethod):
    """Remove rotary pairs with their value dimensions, as many of a block as perplexity allows.

    Source: Lv et al., arXiv:2409.11057, as others describe it, without the fine-tuning.
    """

    capabilities = Capabilities(
        granularity=("rotary-pairs", "value-dims"),
        calibration="gradient",
        refuses={"opt": "it does not rotate queries and keys, so that they have no rotary pairs"},
    )

    sparsity: Ratio = 0.1
    """Share of the decoder blocks' linear weights to remove, all of it of attention."""
    allocation: Literal["ppl", "rank", "uniform"] = "ppl"
    """What sets a block's ratio: its rise in perplexity, the rank of that, or nothing."""
    form: Literal["decay", "inverse"] = "decay"
    """How a rise weighs with `ppl`: exp(-rise), or exp(1 / rise), in units of the mean rise."""
    score: Literal["taylor", "l1", "l2"] = "taylor"
    """What a weight counts in its channel: weight times gradient, absolute value, or square."""
    balance: bool = False
    """Divide the scores of each matrix by their mean before the four are averaged."""
    tie: Literal["joint", "separate"] = "joint"
    """Whether `v` and `o` lose what `q` and `k` lose, or as many dimensions of their own choice."""
    trial: Ratio | None = None
    """Share of its pairs that a block loses on trial; left out, the mean of all blocks' ratios."""
    probes: Count = 4
    """Calibration samples that perplexity and gradients are of."""
    most: Ratio = 0.9
    """Share of its pairs that a block loses at most; one pair stays in any case."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Score the channels, try every block alone, share the pairs out and cut them."""
        probes = next(calibration.chunks(self.probes))
        scores = self.scores(model, probes)
        told: dict[str, Any] = {}
        weights = torch.ones(len(scores), dtype=torch.float64)
        if self.allocation != "uniform":
            dense, alone = self.perplexities(model, scores, probes)
            told = {"perplexity_dense": dense, "perplexity_alone": alone}
            rises = (torch.tensor(alone, dtype=torch.float64) - dense).clamp(min=0)
            weights = self.readiness(rises)
        pairs, costs = self.slots(model)
        lost = whole(self.ratios(model, weights) * pairs, costs)
        for block, score, count in zip(model.visit(), scores, lost.tolist(), strict=True):
            for kind, keep in self.kept(score, count).items():
                keep_units(block, kind, keep)
        heads = torch.tensor([block.attention.kv_heads for block in model.blocks])
        left = pairs - lost
        return told | {
            "pairs": left.tolist(),
            # Of the dense one, by an attention that stored what is kept alone: ours does not.
            "cache_could_be": int(heads @ left) / max(int(heads @ pairs), 1),
        }

    def scores(self, model: LanguageModel, probes: Tokens) -> list[Tensor]:
        """Score the channels of every block, `[4, kv heads, head size]` each."""
        scores: list[Tensor] = []
        if self.score == "taylor":
            for back in backwalk(model, probes, gradients=("q", "k", "v", "o")):
                scores.insert(0, self.channel_scores(back.attention, back.gradients))
        else:
            for block in model.visit():
                scores.append(self.channel_scores(block.attention, {}))
        return scores

    def channel_scores(self, attention: Attention, gradients: dict[str, Tensor]) -> Tensor:
        """Score the channels of `q`, `k`, `v` and `o`, `[4, kv heads, head size]`, fp64.

        A channel is a row, of `o` a column; those of the query heads of a KV head are averaged.
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
        return scores / scores.mean(dim=(1, 2), keepdim=True) if self.balance else scores

    def sizes(self, weight: Tensor, gradient: Tensor | None) -> Tensor:
        """Return what every weight counts, of the same shape."""
        if gradient is not None:
            return (weight * gradient).abs()
        return weight.abs() if self.score == "l1" else weight.square()

    def kept(self, scores: Tensor, count: int) -> dict[Kind, Tensor]:
        """Mark what stays of a block without `count` pairs a KV head, by kind of unit, `[units]`.

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
        """Measure the dense model, and with the attention of each block alone narrowed."""
        ratio = self.rate(model) if self.trial is None else self.trial
        dense, alone = perplexity(model, probes).value, []
        sizes = [len(unit_costs(block, *self.kinds)) for block in model.blocks]
        for block, score in zip(track(model.blocks, "trying blocks"), scores, strict=True):
            half = block.attention.head_size // 2
            count = min(max(round(ratio * half), 1), half - 1)
            gone = [torch.zeros(units, dtype=torch.bool) for units in sizes]
            gone[block.index] = ~torch.cat(list(self.kept(score, count).values())).cpu()
            with masked(model, torch.cat(gone), *self.kinds):
                alone.append(perplexity(model, probes).value)
        return dense, alone

    def readiness(self, rises: Tensor) -> Tensor:
        """Turn the rises in perplexity `[blocks]` into weights that ratios are proportional to."""
        if self.allocation == "rank":  # equation (2)
            ranks = rises.argsort(stable=True).argsort()  # 0 rises least
            return len(rises) - ranks - 0.5
        mean = rises.mean()
        if mean == 0:
            return torch.ones_like(rises)
        if self.form == "inverse":
            return (mean / rises).clamp(max=STEEPEST).exp()
        return (-rises / mean).exp()  # equation (1)

    def ratios(self, model: LanguageModel, weights: Tensor) -> Tensor:
        """Return the share of its pairs that every block loses, `[blocks]`, fp64.

        They are proportional to `weights [blocks]` but where that would be more than `most`: what
        is cut off there goes to the others.
        """
        pairs, costs = self.slots(model)
        sizes = (pairs * costs).double()  # the weights of attention
        taken = capped(weights * sizes, self.rate(model) * float(sizes.sum()), self.at_most(model))
        return taken / sizes.clamp(min=1)

    def slots(self, model: LanguageModel) -> tuple[Tensor, Tensor]:
        """Return how many pairs a KV head of each block has, and what one in every head costs.

        Both `[blocks]`; the cost is that of its value dimensions too. A block without KV heads
        has none.
        """
        pairs, costs = [], []
        for block in model.blocks:
            half = block.attention.head_size // 2 if block.attention.kv_heads else 0
            pairs.append(half)
            costs.append(int(unit_costs(block, *self.kinds).sum()) // max(half, 1))
        return torch.tensor(pairs), torch.tensor(costs)

    def at_most(self, model: LanguageModel) -> Tensor:
        """Count the weights that every block can lose, `[blocks]`, fp64."""
        pairs, costs = (counts.double() for counts in self.slots(model))
        return torch.minimum(self.most * pairs, pairs - 1).clamp(min=0) * costs

    def costs(self, model: LanguageModel) -> Tensor:
        """Count the weights of every unit, `[units]`: a pair in every KV head of a block."""
        pairs, costs = self.slots(model)
        return costs.repeat_interleave(pairs)

    def reach(self, model: LanguageModel) -> float:
        """Return the largest share: what attention can lose of all linear weights."""
        everything = sum(int(unit_costs(block, "blocks")) for block in model.blocks)
        return float(self.at_most(model).sum()) / everything


def paired(scores: Tensor) -> Tensor:
    """Add the scores of dimensions `c` and `c + h`, `[kv heads, 2 h]` to `[kv heads, h]`."""
    halves: Tensor = scores.unflatten(-1, (2, scores.shape[-1] // 2))  # [kv heads, 2, h]
    return halves.sum(dim=-2)


def whole(amounts: Tensor, costs: Tensor) -> Tensor:
    """Round `amounts [blocks]` down to whole pairs, then up where most was left over.

    As many are rounded up as bring the sum, in weights of `costs [blocks]`, nearest to what it was.
    """
    counts = amounts.floor()
    rest = amounts - counts
    left = float((rest * costs).sum() / costs.sum().clamp(min=1))
    return (counts + cheapest(-rest, costs, left)).long()
