"""RIA: weights relative to their row and column, times activations (Zhang et al., ICLR 2024).

With a score by absolute value alone, a row or column of small weights can lose all of them. RIA
measures each weight as a share of its output channel and of its input channel. For N:M patterns
the input channels can be reordered, so that important ones do not fall into the same group.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from implementations.harness import (
    BadInput,
    Block,
    Capabilities,
    ColumnNorm,
    Kind,
    LanguageModel,
    NonNegative,
    Pattern,
    Ratio,
    Tokens,
    WeightMethod,
    cuts,
    require_whole_layers,
    walk,
)


class RIA(WeightMethod):
    """Zero the weights with the smallest relative importance times activation norm; no update.

    Source: Zhang et al., ICLR 2024, https://openreview.net/forum?id=Tr0lPx9woF.
    """

    capabilities = Capabilities(
        granularity=("unstructured", "semi-structured"), calibration="forward", parallel=True
    )

    sparsity: Ratio = 0.5
    """Share of the weights of each matrix to set to zero."""
    pattern: Pattern | None = None
    """Keep KEEP of every GROUP consecutive inputs of a row, as in `2:4`; replaces `sparsity`."""
    exponent: NonNegative = 0.5
    """Exponent of the activation norm (a); 0 uses the weights alone."""
    compare: Literal["matrix", "row"] = "matrix"
    """Weights that are compared if there is no pattern: the whole matrix, or each output row."""
    permutation: Literal["none", "stored", "simulated"] = "none"
    """Reordering of the inputs before an N:M pattern is applied.

    `stored` permutes MLP channels and value dimensions in the model, which computes the same
    function. `simulated` permutes each layer only to choose its mask: N:M holds in an order that
    the stored weights do not have.
    """

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Also reject permuting without a pattern, or layers with missing rows or columns."""
        super().check(model, calibration)
        if self.permutation == "none":
            return
        if not self.pattern:
            raise BadInput("`permutation` needs an N:M pattern; set one, for example pattern=2:4")
        require_whole_layers(model, "ria with permutation")

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Prune block by block; return the share of scores kept, with and without permutation."""
        total = kept = unpermuted = 0.0
        for block in walk(model, calibration):
            seen = block.observe(ColumnNorm)
            linears = block.linears()
            scores = {r: self.score(linears[r].weight, seen[r].norms) for r in linears}
            moves = self.moves(block, scores)
            orders = {role: order for role, dim, order in moves if dim == 1}
            for role, linear in linears.items():
                removed = self.mask(scores[role], orders.get(role))  # [out, in]
                linear.weight.masked_fill_(removed, 0)
                total += float(scores[role].sum())
                kept += float(scores[role][~removed].sum())
                plain = self.mask(scores[role]) if role in orders else removed
                unpermuted += float(scores[role][~plain].sum())
            if self.permutation == "stored":
                for role, dim, order in moves:
                    reorder(linears[role], dim, order)
            del scores  # otherwise they stay in memory until the next block has its own
        total = total or 1.0  # for a model of zeros
        return {"score_kept": kept / total, "score_kept_unpermuted": unpermuted / total}

    def score(self, weight: Tensor, norms: Tensor) -> Tensor:
        """Return `RIA_ij = RI_ij * ||X_j||_2^a`, fp32 `[out, in]`, given the norms `[in]`."""
        return relative_importance(weight) * norms**self.exponent

    def mask(self, scores: Tensor, order: Tensor | None = None) -> Tensor:
        """Return a boolean mask of weights to remove, `[out, in]`; N:M groups follow `order`."""
        if order is None:
            return self.choose(scores, within=self.compare)
        return self.choose(scores[:, order])[:, order.argsort()]

    def moves(self, block: Block, scores: dict[str, Tensor]) -> list[tuple[str, int, Tensor]]:
        """Return permutations as (role, dim, order), of the rows (dim 0) or columns (dim 1).

        Position `j` of the result holds what is now at `order[j]`. If simulated, every layer may
        have its own order. If stored, columns of `down` move with the rows of `gate` and `up`, and
        dimensions of a value head move with the columns of `o` that read them.
        """
        pattern = self.pattern
        if not pattern or self.permutation == "none" or pattern.keep == pattern.group:
            return []
        if self.permutation == "simulated":
            return [(role, 1, permutation(each, pattern)) for role, each in scores.items()]
        names = {linear: role for role, linear in block.linears().items()}
        moved = []
        # All channels share one order. Dimensions of a head are permuted only inside that head.
        for kind, sets in (("channels", 1), ("value-dims", block.attention.kv_heads)):
            parts = cuts(block, cast(Kind, kind))  # the last one is the layer that reads them
            of_reader = scores[names[parts[-1].linear]]
            places = parts[-1].places.to(of_reader.device)  # [units, readers]
            if len(places) // sets % pattern.group:
                continue  # a group would span two heads
            order = torch.cat(
                [
                    own[permutation(stack_readers(of_reader, places[own]), pattern)]
                    for own in torch.arange(len(places), device=places.device).chunk(sets)
                ]
            )
            for linear, dim, units in parts:
                units_there = units.to(order.device)
                sources = units_there[order].flatten()[units_there.flatten().argsort()]
                moved.append((names[linear], dim, sources))
        return moved


def relative_importance(weight: Tensor) -> Tensor:
    """Return `RI_ij = |W_ij| / sum_k |W_kj| + |W_ij| / sum_k |W_ik|`, fp32 `[out, in]`.

    A row or column of zeros scores 0.
    """
    size = weight.abs().float()
    tiny = torch.finfo(size.dtype).tiny
    of_input = size / size.sum(dim=0).clamp(min=tiny)
    of_output = size / size.sum(dim=1, keepdim=True).clamp(min=tiny)
    return of_input + of_output


def permutation(scores: Tensor, pattern: Pattern) -> Tensor:
    """Return an order of the inputs, `[in]`, in which the pattern keeps much of `scores`."""
    return exchange_inputs(scores, snake_order(scores.sum(dim=0), pattern.group), pattern)


def snake_order(totals: Tensor, group: int) -> Tensor:
    """Distribute the inputs over the groups by their `totals [in]`; return an order `[in]`.

    The inputs are sorted in ascending order and cut into `group` segments. Position `t` of every
    group comes from segment `t`. Every second segment is used in reverse order.
    """
    ranked = totals.argsort(stable=True).view(group, -1)  # [positions, groups]
    ranked[1::2] = ranked[1::2].flip(1)
    return ranked.T.flatten()


def exchange_inputs(scores: Tensor, order: Tensor, pattern: Pattern) -> Tensor:
    """Exchange inputs between groups to keep more of `scores [out, in]`; return an order `[in]`.

    For each position, one input is taken out of every group, and all of them are assigned again so
    that the pattern keeps the largest sum: a linear sum assignment. No step lowers this sum.
    """
    groups = order.view(-1, pattern.group).clone()  # [groups, group]
    for position in range(pattern.group):
        others = torch.cat([groups[:, :position], groups[:, position + 1 :]], dim=1)
        # In each row an input adds its excess over the lowest score kept without it.
        bars = scores[:, others].topk(pattern.keep).values[..., -1]  # [out, groups]
        free = scores[:, groups[:, position]]  # [out, inputs]
        gains = [(free - bar[:, None]).clamp(min=0).sum(dim=0) for bar in bars.unbind(dim=1)]
        groups[:, position] = groups[assignment(torch.stack(gains)), position]
    return groups.flatten()


def assignment(gains: Tensor) -> Tensor:
    """Assign every row of `gains [n, n]` a column of its own with the largest possible sum.

    Returns the column of each row, int64 `[n]`.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import and rarely needed

    _, columns = linear_sum_assignment(gains.double().cpu().numpy(), maximize=True)
    return torch.as_tensor(columns, device=gains.device)


def stack_readers(scores: Tensor, columns: Tensor) -> Tensor:
    """Stack the `columns [units, readers]` of `scores [out, in]` that must share one order.

    Returns `[out * readers, units]`: the query heads of a group read the same value head.
    """
    return scores[:, columns].transpose(1, 2).flatten(end_dim=1)


def reorder(linear: nn.Linear, dim: int, order: Tensor) -> None:
    """Reorder the rows (dim 0, with the bias) or the columns (dim 1) of a layer in place."""
    linear.weight.copy_(linear.weight.index_select(dim, order))
    if dim == 0 and linear.bias is not None:
        linear.bias.copy_(linear.bias[order])
