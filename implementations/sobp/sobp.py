"""SoBP: choose by gradients, correct the choice by curvature, fit anew (Wei et al., EMNLP 2024).

Three stages. How far the loss moves with a unit's mask ranks all heads and channels of the network,
and the budget decides how many each module keeps. Such scores do not see that two units may stand
in for each other: so inside each module a greedy search by Optimal Brain Surgeon reconsiders which
ones go. Then what is left of a module is fitted to what the dense module puts out.
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
CHUNK = 32  # samples whose activations are held at every block at once

Choice = tuple[Tensor, Tensor]  # which units of a module go, and which might; masks [units]


class SoBP(UnitMethod):
    """Remove KV groups and channels in three stages: select, refine, reconstruct.

    Source: Wei et al., doi:10.18653/v1/2024.emnlp-main.775; all inside the stages is our own.
    """

    capabilities = Capabilities(granularity=("kv-groups", "channels"), calibration="gradient")
    least = 1

    sparsity: Ratio = 0.2
    """Share of the decoder blocks' linear weights to remove."""
    select: bool = True
    """Stage 1, one choice over the network by gradients; else every block loses the same share."""
    importance: Literal["first-order", "fisher"] = "fisher"
    """What counts of the gradients by a unit's mask: the mean size, or the mean square."""
    refine: bool = True
    """Stage 2, search anew inside each module and correct what stays for what goes."""
    pool: NonNegative = 1.0
    """Kept units that the search may remove instead, in parts of those to remove (beta)."""
    damping: NonNegative = 0.01
    """Added to the Hessian's diagonal in stage 2, as a fraction of its mean (lambda)."""
    reconstruct: bool = True
    """Stage 3, fit each module to the dense one's output on the dense model's activations."""
    restraint: NonNegative = 0.01
    """Pull to the weights of stage 2 in the fit, as a fraction of the mean diagonal (mu)."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Refuse also that nothing chooses."""
        if not self.select and not self.refine:
            raise BadInput("select and refine are both off, so nothing chooses; switch one on")
        super().check(model, calibration)

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Choose in a walk back, search and fit in a walk; return widths left and exchanges."""
        choices = self.choices(model, calibration)
        if not any(bool(gone.any()) for gone, _ in choices):
            return widths_left(model)
        exchanged: dict[Kind, list[int]] = {kind: [] for kind in self.kinds}
        modules = iter(choices)
        for block in walk(model, calibration, beside=self.reconstruct):
            for kind in self.kinds:  # attention first: the feed-forward part sees what is left
                gone, pool = next(modules)
                final = self.cut(block, kind, gone, pool)
                exchanged[kind].append(int((gone & ~final).sum()))
        told = {f"{kind.replace('-', '_')}_exchanged": counts for kind, counts in exchanged.items()}
        return widths_left(model) | (told if self.select else {})

    def choices(self, model: LanguageModel, calibration: Tokens) -> list[Choice]:
        """Choose what goes of each module for now: attention and feed-forward, block by block."""
        costs = [unit_costs(block, kind) for block in model.blocks for kind in self.kinds]
        if not self.select:
            lost = [n for both in self.widths(model, torch.ones(len(model.blocks))) for n in both]
            return [
                (torch.arange(len(units)) < count, torch.ones(len(units), dtype=torch.bool))
                for units, count in zip(costs, lost, strict=True)
            ]
        scores = self.scores(model, calibration)
        prices = [max(torch.cat(costs[sort::2]).tolist(), default=1) for sort in (0, 1)]
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
            for block in backwalk(model, chunk, masks=READERS.values()):
                for kind in self.kinds:
                    role = READERS[kind]
                    # dL_n/dm_i, [samples, units]: a unit's mask multiplies all of its columns.
                    slopes = block.masks[role].double().cpu()[:, columns(block, kind)].sum(dim=-1)
                    sizes = slopes.abs() if self.importance == "first-order" else slopes.square()
                    place = block.index, kind
                    scores[place] = scores.get(place, 0) + sizes.sum(dim=0) / samples
        return [scores[block.index, kind] for block in model.blocks for kind in self.kinds]

    def cut(self, block: WalkedBlock, kind: Kind, gone: Tensor, pool: Tensor) -> Tensor:
        """Search a module anew for as many units as `gone` marks, fit the rest; mark what went."""
        role = READERS[kind]
        linear, where = block.linears()[role], f"block {block.index}, {role}"
        units = columns(block, kind)
        weight = linear.weight.double()  # [out, in]
        gram, products = self.observe(block, role)
        if self.refine and gone.any():
            inverse = damped_inverse(gram, self.damping, where)
            order = cheapest_in_turn(weight, inverse, units[pool], int(gone.sum()))
            gone = torch.zeros_like(gone)
            gone[pool.nonzero().flatten()[order.cpu()]] = True
            eliminate(weight, inverse, units[gone].flatten().to(weight.device))
        kept = units[~gone].flatten().to(weight.device)
        weight = weight[:, kept]
        if self.reconstruct:
            gram, products = gram[kept][:, kept], products[:, kept]
            weight = refit_to(weight, gram, products, self.restraint, where)
        keep_units(block, kind, ~gone)
        linear.weight.copy_(weight)
        return gone

    def observe(self, block: WalkedBlock, role: str) -> tuple[Tensor, Tensor]:
        """Return `X X^T [in, in]` of a layer and `Y X^T [out, in]`, `Y` from the dense model.

        Without stage 3, which asks for it, the latter is empty. The bias is in no `Y`: it stays.
        """
        if not self.reconstruct:
            gram = block.observe(Gram, role)[role].matrix
            return gram, gram[:0]
        dense = block.beside.linears()[role].weight.float()
        products = torch.zeros_like(dense)
        with (
            block.watching(Gram, role) as grams,
            block.watching(Latest, role) as now,
            block.beside.watching(Latest, role) as was,
        ):
            for _ in zip(block.run(), block.beside.run(), strict=True):
                products.addmm_(dense @ was[role].x.T, now[role].x)
        return grams[role].matrix, products


class Latest:
    """The inputs of a layer in the micro-batch that ran last, `[tokens, features]`, fp32."""

    def __init__(self, features: int, device: torch.device | str = "cpu") -> None:
        self.x = torch.empty(0, features, device=device)

    def update(self, x: Tensor) -> None:
        """Take the tokens `x [..., features]`."""
        self.x = x.flatten(end_dim=-2).float()

    def finite(self) -> bool:
        """Say whether there is neither NaN nor infinity."""
        return bool(self.x.isfinite().all())


def columns(block: Block, kind: Kind) -> Tensor:
    """Return which inputs of its reader make up each unit, `[units, width]`."""
    reader = block.linears()[READERS[kind]]
    return next(part.places for part in cuts(block, kind) if part.linear is reader)


def knapsack(scores: list[Tensor], prices: list[int], budget: float) -> list[Tensor]:
    """Mark the units that stay of each module: the most importance that `budget` weights hold.

    `scores` alternate, KV groups of a block `[units]` and its channels; `prices` are what one of
    either takes. With two prices the exact answer is a scan: every number of groups, always the
    most important ones, and as many channels as then fit. One unit of each module stays. An answer
    that leaves more than half of a unit unused counts only where there is no other.
    """
    sorts = [scores[::2], scores[1::2]]
    orders = [ranked(modules) for modules in sorts]
    sums = [
        torch.cat([torch.zeros(1), torch.cat(modules)[order].cumsum(dim=0)])  # of the best 0, 1, ..
        for modules, order in zip(sorts, orders, strict=True)
    ]
    least = [sum(len(module) > 0 for module in modules) for modules in sorts]
    groups = torch.arange(least[0], len(orders[0]) + 1)
    left = budget - groups.double() * prices[0]
    channels = (left / prices[1] + 1e-6).floor().long().clamp(max=len(orders[1]))
    left -= channels * prices[1]
    left[channels < least[1]] = torch.inf
    wasteful = left > max(max(prices) / 2, float(left.min()))
    kept_scores = sums[0][groups] + sums[1][channels.clamp(min=0)]
    best = kept_scores.masked_fill(wasteful, -torch.inf).argmax()
    kept = []
    for modules, order, counts in zip(sorts, orders, (groups, channels), strict=True):
        keep = torch.zeros(len(order), dtype=torch.bool)
        keep[order[: counts[best]]] = True
        kept.append(keep.split([len(module) for module in modules]))
    return [mask for block in zip(*kept, strict=True) for mask in block]


def ranked(modules: list[Tensor]) -> Tensor:
    """Return the numbers of all units: the best of each module, then by falling importance."""
    lifted = [
        module.index_fill(0, module.topk(min(1, len(module))).indices, torch.inf)
        for module in modules
    ]
    return torch.cat(lifted).argsort(descending=True, stable=True)


def candidates(importance: Tensor, gone: Tensor, share: float) -> Tensor:
    """Mark what the search may remove, `[units]`: what is `gone`, and the next least important.

    These are `share` times as many as are gone, or all there are.
    """
    more = min(round(share * int(gone.sum())), int((~gone).sum()))
    return gone | smallest(importance.masked_fill(gone, torch.inf), more)
