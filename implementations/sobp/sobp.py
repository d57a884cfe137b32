"""SoBP: select by gradients, refine by curvature, refit the weights (Wei et al., EMNLP 2024).

The method has three stages. First, the gradient of the loss by a unit's mask ranks all heads and
channels of the network, and the budget determines how many each module keeps. Such scores do not
see that two units may replace each other. So, second, a greedy search by Optimal Brain Surgeon
inside each module reconsiders which units to remove. Third, the remaining weights of a module are
fitted to the output of the dense module.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from implementations.harness import (
    BadInput,
    Block,
    Capabilities,
    Gram,
    Kind,
    LanguageModel,
    NonNegative,
    Ratio,
    Tokens,
    UnitMethod,
    WalkedBlock,
    backwalk,
    cuts,
    damped_inverse,
    eliminate,
    keep_units,
    smallest,
    unit_costs,
    walk,
    widths_left,
)
from implementations.sobp.least_squares import cheapest_in_turn, refit_to

READERS: dict[Kind, str] = {"kv-groups": "o", "channels": "down"}  # the layer that reads a unit
CHUNK = 32  # samples whose activations at every block are stored at once

Choice = tuple[Tensor, Tensor]  # masks [units] of a module: units to remove, candidates


class SoBP(UnitMethod):
    """Remove KV groups and MLP channels by gradients, a greedy search and a least-squares refit.

    Source: Wei et al., doi:10.18653/v1/2024.emnlp-main.775; all inside the stages is our own.
    """

    capabilities = Capabilities(granularity=("kv-groups", "channels"), calibration="gradient")
    least = 1

    sparsity: Ratio = 0.2
    """Share of the weights in the decoder's linear layers to remove."""
    select: bool = True
    """Stage 1: select units network-wide by gradients. If off, each kind loses the same share."""
    importance: Literal["first-order", "fisher"] = "fisher"
    """Importance of a unit: mean absolute value or mean square of its mask's gradient."""
    refine: bool = True
    """Stage 2: search again inside each module and correct the kept weights."""
    pool: NonNegative = 1.0
    """Number of further candidates of the search, relative to the units to remove (beta)."""
    damping: NonNegative = 0.01
    """Value added to the Hessian's diagonal in stage 2, as a fraction of its mean (lambda)."""
    reconstruct: bool = True
    """Stage 3: fit each module to the dense module's output on the dense model's activations."""
    restraint: NonNegative = 0.01
    """Strength of the pull to the weights of stage 2, as a fraction of the mean diagonal (mu)."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Also reject settings in which no stage chooses units."""
        if not self.select and not self.refine:
            raise BadInput(
                "`select` and `refine` are both off, so no stage chooses units; switch one on"
            )
        super().check(model, calibration)

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Select in a backward walk, then search and fit; return widths and exchanged units."""
        choices = self.choices(model, calibration)
        if not any(bool(removed.any()) for removed, _ in choices):
            return widths_left(model)
        exchanged: dict[Kind, list[int]] = {kind: [] for kind in self.kinds}
        for block in walk(model, calibration, beside=self.reconstruct):
            modules = choices[2 * block.index : 2 * block.index + 2]
            # attention first, then the MLP behind it
            for kind, (removed, pool) in zip(self.kinds, modules, strict=True):
                final = self.cut(block, kind, removed, pool)
                exchanged[kind].append(int((removed & ~final).sum()))
        details = {
            f"{kind.replace('-', '_')}_exchanged": counts for kind, counts in exchanged.items()
        }
        return widths_left(model) | (details if self.select else {})

    def choices(self, model: LanguageModel, calibration: Tokens) -> list[Choice]:
        """Select units of each module by stage 1: attention, then the MLP, block by block."""
        costs = [unit_costs(block, kind) for block in model.blocks for kind in self.kinds]
        if not self.select:
            lost = [n for both in self.widths(model, torch.ones(len(model.blocks))) for n in both]
            return [
                (torch.arange(len(units)) < count, torch.ones(len(units), dtype=torch.bool))
                for units, count in zip(costs, lost, strict=True)
            ]
        scores = self.scores(model, calibration)
        prices = [max(torch.cat(costs[kind::2]).tolist(), default=1) for kind in (0, 1)]
        budget = (1 - self.rate(model)) * sum(int(units.sum()) for units in costs)
        return [
            (~keep, candidates(importance, ~keep, self.pool))
            for importance, keep in zip(scores, knapsack(scores, prices, budget), strict=True)
        ]

    def scores(self, model: LanguageModel, calibration: Tokens) -> list[Tensor]:
        """Return the importance of the units of each module, fp64, in the order of `choices`."""
        samples = len(calibration.ids)
        scores: dict[tuple[int, Kind], Tensor] = {}
        for chunk in calibration.chunks(CHUNK):
            for block in backwalk(model, chunk, masks=READERS.values(), edits=False):
                for kind in self.kinds:
                    role = READERS[kind]
                    # dL_n/dm_i, [samples, units]: a unit's mask multiplies all of its columns.
                    slopes = block.masks[role].double().cpu()[:, columns(block, kind)].sum(dim=-1)
                    sizes = slopes.abs() if self.importance == "first-order" else slopes.square()
                    place = block.index, kind
                    scores[place] = scores.get(place, 0) + sizes.sum(dim=0) / samples
        return [scores[block.index, kind] for block in model.blocks for kind in self.kinds]

    def cut(self, block: WalkedBlock, kind: Kind, removed: Tensor, pool: Tensor) -> Tensor:
        """Search for as many units as in `removed`, fit the rest; return the removed units."""
        if not self.reconstruct and not (self.refine and removed.any()):
            keep_units(block, kind, ~removed)
            return removed
        role = READERS[kind]
        linear, where = block.linears()[role], f"block {block.index}, {role}"
        units = columns(block, kind)
        weight = linear.weight.double()  # [out, in]
        gram, products = self.observe(block, role)
        if self.refine and removed.any():
            inverse = damped_inverse(gram, self.damping, where)
            order = cheapest_in_turn(weight, inverse, units[pool], int(removed.sum()))
            removed = torch.zeros_like(removed)
            removed[pool.nonzero().flatten()[order.cpu()]] = True
            eliminate(weight, inverse, units[removed].flatten().to(weight.device))
        kept = units[~removed].flatten().to(weight.device)
        weight = weight[:, kept]
        if self.reconstruct:
            gram, products = gram[kept][:, kept], products[:, kept]
            weight = refit_to(weight, gram, products, self.restraint, where)
        keep_units(block, kind, ~removed)
        linear.weight.copy_(weight)
        return removed

    def observe(self, block: WalkedBlock, role: str) -> tuple[Tensor, Tensor]:
        """Return `X X^T [in, in]` of a layer and `Y X^T [out, in]`, `Y` from the dense model.

        The latter is empty if stage 3 is off. `Y` does not contain the bias, which is unchanged.
        """
        if not self.reconstruct:
            gram = block.observe(Gram, role)[role].matrix
            return gram, gram[:0]
        grams, products = block.observe_beside(role)
        return grams[role].matrix, products[role]


def columns(block: Block, kind: Kind) -> Tensor:
    """Return the columns of each unit in the layer that reads it, `[units, width]`."""
    reader = block.linears()[READERS[kind]]
    return next(part.places for part in cuts(block, kind) if part.linear is reader)


def knapsack(scores: list[Tensor], prices: list[int], budget: float) -> list[Tensor]:
    """Mark the units of each module to keep: maximal total importance within `budget` weights.

    `scores` alternate between the KV groups `[units]` of a block and its channels; `prices` are the
    weights of one group and of one channel. With two prices a scan is exact: for every number of
    groups, always the most important ones, it adds as many channels as fit. Each module keeps one
    unit. A solution that leaves more than half of a unit unused counts only if there is no other.
    """
    by_kind = [scores[::2], scores[1::2]]
    orders = [importance_order(modules) for modules in by_kind]
    sums = [
        torch.cat([torch.zeros(1), torch.cat(modules)[order].cumsum(dim=0)])  # of the best 0, 1, ..
        for modules, order in zip(by_kind, orders, strict=True)
    ]
    least = [sum(len(module) > 0 for module in modules) for modules in by_kind]
    groups = torch.arange(least[0], len(orders[0]) + 1)
    left = budget - groups.double() * prices[0]
    channels = (left / prices[1] + 1e-6).floor().long().clamp(max=len(orders[1]))
    left -= channels * prices[1]
    left[channels < least[1]] = torch.inf
    wasteful = left > max(max(prices) / 2, float(left.min()))
    kept_scores = sums[0][groups] + sums[1][channels.clamp(min=0)]
    best = kept_scores.masked_fill(wasteful, -torch.inf).argmax()
    kept = []
    for modules, order, counts in zip(by_kind, orders, (groups, channels), strict=True):
        keep = torch.zeros(len(order), dtype=torch.bool)
        keep[order[: counts[best]]] = True
        kept.append(keep.split([len(module) for module in modules]))
    return [mask for block in zip(*kept, strict=True) for mask in block]


def importance_order(modules: list[Tensor]) -> Tensor:
    """Return the numbers of all units: the best of each module, then by descending importance."""
    lifted = [
        module.index_fill(0, module.topk(min(1, len(module))).indices, torch.inf)
        for module in modules
    ]
    return torch.cat(lifted).argsort(descending=True, stable=True)


def candidates(importance: Tensor, removed: Tensor, share: float) -> Tensor:
    """Mark the units that the search may remove, `[units]`: `removed` and the next least important.

    There are `share` times as many of the latter as in `removed`, or all that remain.
    """
    more = min(round(share * int(removed.sum())), int((~removed).sum()))
    return removed | smallest(importance.masked_fill(removed, torch.inf), more)
