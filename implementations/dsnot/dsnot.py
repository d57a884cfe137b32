"""DSnoT: revise the mask of another method row by row without training (Zhang et al., ICLR 2024).

The removed weights of a row add up to an expected error of its output. While this error is large,
DSnoT restores a weight that reduces the error, and removes another weight that matters little and
whose loss also reduces it. Weights keep their values, and rows keep their sparsity.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from implementations.harness import (
    PARTS,
    Capabilities,
    ColumnNorm,
    Count,
    Gram,
    LanguageModel,
    Moments,
    NonNegative,
    Pattern,
    Ratio,
    Tokens,
    WalkedBlock,
    WeightMethod,
    factored_layers,
    walk,
)

SAMPLE = 2048  # tokens per sample in the official code; the threshold applies to a sum over them
SMALLEST_VARIANCE = 1e-12  # of an input, so that constant inputs do not divide by zero


class DSnoT(WeightMethod):
    """Revise a mask of Wanda, SparseGPT or magnitude until the expected error of each row is small.

    Source: Zhang et al., arXiv:2310.08915.
    """

    capabilities = Capabilities(
        granularity=("unstructured", "semi-structured"), calibration="forward", parallel=True
    )

    sparsity: Ratio = 0.6
    """Share of each output row to zero."""
    pattern: Pattern | None = None
    """Keep KEEP of every GROUP consecutive inputs of a row, as in `2:4`; replaces `sparsity`."""
    initial: Literal["wanda", "sparsegpt", "magnitude"] = "wanda"
    """Method whose scores give the first mask; weights are never updated, even with SparseGPT."""
    skip: Literal["none", "attention", "feed-forward"] = "feed-forward"
    """Part of a decoder layer that keeps its first mask."""
    threshold: NonNegative = 0.1
    """Expected error over 2,048 tokens at or below which a row is finished (epsilon)."""
    cycles: Count = 50
    """Largest number of exchanges per row (T)."""
    variance_power: NonNegative = 1.0
    """Exponent of the input variance by which the contribution of a weight is divided (p)."""
    same_sign: bool = False
    """Stop a row before its error changes sign; always on with a pattern."""
    damping: NonNegative = 0.01
    """Value added to the Hessian's diagonal for SparseGPT, as a fraction of its mean."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Prune block by block; return the number of exchanges and the errors before and after.

        Errors are sums over 2,048 tokens, averaged over the rows of the revised layers.
        """
        exchanged, errors = 0, []
        for block in walk(model, calibration):
            with block.watching(Moments) as moments:
                metrics, norms = self.observe(block)
            for role, linear in block.linears().items():
                W, seen = linear.weight.float(), moments[role]  # [out, in]
                removed = first = self.choose(metrics[role])
                if W.numel() and role not in PARTS.get(self.skip, ()):
                    terms = W * (SAMPLE * seen.mean).float()  # contribution to the output, C
                    variance = seen.variance.clamp(min=SMALLEST_VARIANCE).float()
                    worth = terms / variance**self.variance_power
                    costs = metrics[role] if self.pattern else W.abs() * norms[role]
                    removed = self.revise(first, terms, worth, costs)
                    exchanged += int((first & ~removed).sum())
                    both = torch.stack([(terms * mask).sum(dim=1) for mask in (first, removed)])
                    errors.append(both.abs())
                linear.weight.masked_fill_(removed, 0)
            del metrics  # otherwise they stay in memory until the next block has its own
        # A model without attention has no layer to revise if the MLP is skipped.
        before, after = torch.cat(errors, dim=1).mean(dim=1).tolist() if errors else (0.0, 0.0)
        return {"exchanged": exchanged, "error_before": before, "error_after": after}

    def observe(self, block: WalkedBlock) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Run a block; return the first-mask scores `[out, in]` and the input norms `[in]`.

        Both are fp32 and keyed by role.
        """
        if self.initial == "sparsegpt":
            grams = block.observe(Gram)
            metrics = {
                role: (linear.weight.float() / factor.diagonal()).square().masked_fill(silent, 0)
                for role, linear, factor, silent in factored_layers(block, grams, self.damping)
            }
            return metrics, {role: gram.matrix.diagonal().sqrt() for role, gram in grams.items()}
        norms = {role: seen.norms for role, seen in block.observe(ColumnNorm).items()}
        ones = {role: torch.ones_like(each) for role, each in norms.items()}
        weights = norms if self.initial == "wanda" else ones
        linears = block.linears().items()
        metrics = {role: x.weight.abs().float() * weights[role] for role, x in linears}
        return metrics, norms

    def revise(self, removed: Tensor, terms: Tensor, worth: Tensor, costs: Tensor) -> Tensor:
        """Exchange weights of each row until its expected error is small; return the new mask.

        All arguments are `[out, in]`. `removed` is the first mask. `terms` is the contribution of
        each weight to its output; the error is its sum over removed weights. `worth` is the same,
        weighted by how reliable it is. `costs` is the cost of removing each weight.
        """
        removed, rows = removed.clone(), torch.arange(len(removed), device=removed.device)
        error = (terms * removed).sum(dim=1)  # dense minus sparse, [out]
        start, active = error.sign(), torch.ones_like(rows, dtype=torch.bool)
        # A positive error needs weights with positive terms restored and weights with negative
        # terms removed; a negative error needs the opposite. Each list is read once, in order:
        # [2, out, cycles].
        grow = torch.stack(
            [
                listed(-worth, removed & (terms > 0), self.cycles),
                listed(worth, removed & (terms < 0), self.cycles),
            ]
        )
        lose = torch.stack(
            [
                listed(costs, ~removed & (terms < 0), self.cycles),
                listed(costs, ~removed & (terms > 0), self.cycles),
            ]
        )
        costs = costs.masked_fill(removed, math.inf)
        read = torch.zeros(2, len(removed), dtype=torch.int64, device=removed.device)
        for _ in range(self.cycles):
            side = (error < 0).long()  # [out]
            back, away = grow[side, rows, at := read[side, rows]], lose[side, rows, at]
            if self.pattern:
                away = cheapest_of_group(costs, back, self.pattern.group)
            after = error + terms[rows, away] - terms[rows, back]
            active &= (error.abs() > self.threshold) & (back >= 0) & (away >= 0)
            if self.same_sign or self.pattern:
                active &= after.sign() == start
            if not active.any():
                break
            moving, back, away = rows[active], back[active], away[active]
            removed[moving, back], removed[moving, away] = False, True
            costs[moving, away] = math.inf
            error = torch.where(active, after, error)
            read[side, rows] += active
        return removed


def listed(scores: Tensor, among: Tensor, length: int) -> Tensor:
    """Return the columns marked in `among [out, in]` by ascending score, `[out, length]`.

    Shorter lists are padded with -1.
    """
    order = scores.masked_fill(~among, math.inf).argsort(dim=1, stable=True)[:, :length]
    order = order.masked_fill(~among.gather(1, order), -1)
    return nn.functional.pad(order, (0, length - order.shape[1]), value=-1)


def cheapest_of_group(costs: Tensor, columns: Tensor, group: int) -> Tensor:
    """Return the cheapest column in the group of each row's column, `[out]`; -1 if none is left."""
    first = columns.clamp(min=0) // group * group
    places = first[:, None] + torch.arange(group, device=columns.device)  # [out, group]
    least, at = costs.gather(1, places).min(dim=1)
    return torch.where(least.isinf(), -1, first + at)
