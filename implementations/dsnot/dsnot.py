"""DSnoT: another method's mask, revised row by row without training (Zhang et al., ICLR 2024).

What a row has lost adds up to an error of its output that can be expected of any token. While it is
large, the row gets back a weight that makes up for it, and gives away one whose loss helps as well
and matters little. Weights keep their values, rows their sparsity.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from implementations.harness import (
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
    factored,
    walk,
)

SAMPLE = 2048  # the official code sums over the tokens of a sample, so the threshold is of a sum
STEADY = 1e-12  # least variance of an input
PARTS = {"attention": ("q", "k", "v", "o"), "feed-forward": ("gate", "up", "down"), "none": ()}


class DSnoT(WeightMethod):
    """Revise masks of Wanda, SparseGPT or magnitude until the expected error of a row is small.

    Source: Zhang et al., arXiv:2310.08915.
    """

    capabilities = Capabilities(
        granularity=("unstructured", "semi-structured"), calibration="forward"
    )

    sparsity: Ratio = 0.6
    """Share of each output row to zero."""
    pattern: Pattern | None = None
    """Keep KEEP of every GROUP consecutive inputs of a row, as in `2:4`; replaces `sparsity`."""
    initial: Literal["wanda", "sparsegpt", "magnitude"] = "wanda"
    """Whose scores make the mask that is revised; weights are not updated, by SparseGPT neither."""
    skip: Literal["none", "attention", "feed-forward"] = "feed-forward"
    """Which part of a block keeps its first mask."""
    threshold: NonNegative = 0.1
    """A row is done when its expected error over 2,048 tokens is no larger (epsilon)."""
    cycles: Count = 50
    """Exchanges of a row at most (T)."""
    variance_power: NonNegative = 1.0
    """How much a weight behind an input that varies is worth less to a row (p)."""
    same_sign: bool = False
    """Stop a row before its error changes sign; with a pattern always."""
    damping: NonNegative = 0.01
    """With SparseGPT: added to the Hessian's diagonal, as a fraction of its mean."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Prune block by block; return how many exchanges were made, and errors before and after.

        Errors are means over the rows of the layers revised, of sums over 2,048 tokens.
        """
        exchanged, errors = 0, []
        for block in walk(model, calibration):
            with block.watching(Moments) as moments:
                metrics, norms = self.observe(block)
            for role, linear in block.linears().items():
                W, seen = linear.weight.float(), moments[role]  # [out, in]
                gone = first = self.choose(metrics[role])
                if role not in PARTS[self.skip]:
                    terms = W * (SAMPLE * seen.mean).float()  # what each adds to its output, C
                    variance = seen.variance.clamp(min=STEADY).float()
                    worth = terms / variance**self.variance_power
                    costs = metrics[role] if self.pattern else W.abs() * norms[role]
                    gone = self.revise(first, terms, worth, costs)
                    exchanged += int((first & ~gone).sum())
                    both = torch.stack([(terms * mask).sum(dim=1) for mask in (first, gone)])
                    errors.append(both.abs())
                linear.weight.masked_fill_(gone, 0)
        before, after = torch.cat(errors, dim=1).mean(dim=1).tolist()
        return {"exchanged": exchanged, "error_before": before, "error_after": after}

    def observe(self, block: WalkedBlock) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Run a block; return the scores of the first mask, `[out, in]`, and input norms, `[in]`.

        Both by role, fp32.
        """
        if self.initial == "sparsegpt":
            grams = block.observe(Gram)
            metrics = {
                role: (linear.weight.float() / factor.diagonal()).square().masked_fill(silent, 0)
                for role, linear, factor, silent in factored(block, grams, self.damping)
            }
            return metrics, {role: gram.matrix.diagonal().sqrt() for role, gram in grams.items()}
        norms = {role: seen.norms for role, seen in block.observe(ColumnNorm).items()}
        ones = {role: torch.ones_like(each) for role, each in norms.items()}
        weights = norms if self.initial == "wanda" else ones
        linears = block.linears().items()
        metrics = {role: x.weight.abs().float() * weights[role] for role, x in linears}
        return metrics, norms

    def revise(self, gone: Tensor, terms: Tensor, worth: Tensor, costs: Tensor) -> Tensor:
        """Exchange weights of each row until its expected error is small; return what goes then.

        All are `[out, in]`: the first mask; what a weight adds to its output, whose sum over what
        goes is the error; how reliably it does so; what it costs to lose it.
        """
        gone, rows = gone.clone(), torch.arange(len(gone), device=gone.device)
        error = (terms * gone).sum(dim=1)  # dense minus sparse, [out]
        start, active = error.sign(), torch.ones_like(rows, dtype=torch.bool)
        # A positive error wants back what adds most, and to lose what takes away; a negative one
        # the reverse. Each list is read once, in its order: [2, out, cycles].
        grow = torch.stack(
            [
                listed(-worth, gone & (terms > 0), self.cycles),
                listed(worth, gone & (terms < 0), self.cycles),
            ]
        )
        lose = torch.stack(
            [
                listed(costs, ~gone & (terms < 0), self.cycles),
                listed(costs, ~gone & (terms > 0), self.cycles),
            ]
        )
        costs = costs.masked_fill(gone, math.inf)
        read = torch.zeros(2, len(gone), dtype=torch.int64, device=gone.device)
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
            gone[moving, back], gone[moving, away] = False, True
            costs[moving, away] = math.inf
            error = torch.where(active, after, error)
            read[side, rows] += active
        return gone


def listed(scores: Tensor, among: Tensor, length: int) -> Tensor:
    """List the columns marked in `among [out, in]` by ascending scores, `[out, length]`.

    A list that is shorter ends in -1.
    """
    order = scores.masked_fill(~among, math.inf).argsort(dim=1, stable=True)[:, :length]
    order = order.masked_fill(~among.gather(1, order), -1)
    return nn.functional.pad(order, (0, length - order.shape[1]), value=-1)


def cheapest_of_group(costs: Tensor, columns: Tensor, group: int) -> Tensor:
    """Return the column of least cost in the group of each row's column, `[out]`; -1 if none is."""
    first = columns.clamp(min=0) // group * group
    places = first[:, None] + torch.arange(group, device=columns.device)  # [out, group]
    least, at = costs.gather(1, places).min(dim=1)
    return torch.where(least.isinf(), -1, first + at)
