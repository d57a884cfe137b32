"""NAEE: keep the experts that together rebuild the output of their block (Lu et al., ACL 2024).

With few experts, all ways to drop some of them can be tried. Of all sets, NAEE drops the one whose
removal changes the block's output on the calibration text least. The router chooses among the
remaining experts.

The output of an expert does not depend on the others. So the products of all pairs of outputs are
computed once for each token, and the error of any set follows from them and the gates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from implementations.harness import (
    BadInput,
    Capabilities,
    ExpertMethod,
    Experts,
    LanguageModel,
    NumericsError,
    Ratio,
    Tokens,
    WalkedBlock,
    experts_left,
    keep_experts,
    routed,
    set_expert_count,
    track,
    walk,
)

MAX_SETS = 20_000
"""Number of sets of experts in one block above which an exhaustive search is refused."""

ExpertSet = tuple[int, ...]


class NAEE(ExpertMethod):
    """Remove from each decoder layer the set of experts without which its output changes least.

    Source: Lu et al., arXiv:2402.14800, and the official code.
    """

    capabilities = Capabilities(granularity=("experts",), calibration="forward")

    sparsity: Ratio = 0.25
    """Share of the decoder layers' weights to remove, as equally many experts of each."""
    search: Literal["exhaustive", "greedy"] = "exhaustive"
    """Try all sets of experts, or drop the one that costs least and repeat."""
    progressive: bool = False
    """Compare outputs on inputs from the pruned earlier layers with those of the dense model."""
    official_norm: bool = False
    """Add up the norms of the errors of micro-batches, instead of one norm over all tokens."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Check also that the sets are not too many."""
        super().check(model, calibration)
        sets = max(
            math.comb(block.experts.count, self.lost(model))
            for block in model.blocks
            if block.experts
        )
        if self.search == "exhaustive" and sets > MAX_SETS:
            raise BadInput(
                f"naee would try {sets:,} sets of experts in each block, more than {MAX_SETS:,}; "
                "use search=greedy or remove fewer experts"
            )

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Choose the experts of each block and remove them; return the sets and their errors."""
        lost = self.lost(model)
        if not lost:
            return experts_left(model)
        find = exhaustive if self.search == "exhaustive" else greedy
        kept, removed, errors, tried = {}, [], [], 0
        for block in walk(model, calibration, edits=self.progressive, beside=self.progressive):
            experts = block.experts
            if experts is None:
                continue
            layer = Layer(experts, list(observed(block, experts, self.progressive)))
            result = find(layer, lost, self.official_norm)
            kept[block.index] = [j for j in range(experts.count) if j not in result.dropped]
            if self.progressive:
                keep_experts(block, kept[block.index])
            removed.append(list(result.dropped))
            errors.append(result.error)
            tried += result.tried
        if self.progressive:
            set_expert_count(model)
        else:
            self.keep(model, kept)
        return experts_left(model) | {"removed": removed, "errors": errors, "sets": tried}


class Batch(NamedTuple):
    """The products of all expert outputs of each token of a micro-batch.

    In the progressive search, the output of the dense model is one more row.
    """

    logits: Tensor
    """The output of the router, `[tokens, experts]`."""
    products: Tensor
    """The product of each pair of rows, `[tokens, rows, rows]`, fp64."""
    target: Tensor
    """The output to rebuild, as factors of the rows, `[tokens, rows]`, fp64."""


class Layer(NamedTuple):
    """The experts of one block and the observed micro-batches."""

    experts: Experts
    batches: list[Batch]

    def error(self, dropped: ExpertSet, official_norm: bool = False) -> float:
        """Return the error `L(C) = ||Z - out_C(X)||_F` without the experts `dropped`."""
        squares = []
        for logits, products, target in self.batches:
            left = logits.index_fill(1, torch.tensor(dropped, device=logits.device), -math.inf)
            gates = all_gates(self.experts, left)  # of the experts in C, the next ones move up
            difference = target - pad(gates, (0, target.shape[1] - gates.shape[1]))
            squares.append(torch.einsum("tr,trs,ts->", difference, products, difference))
        norms = torch.stack(squares).clamp(min=0)  # rounding
        return float(norms.sqrt().sum() if official_norm else norms.sum().sqrt())


class SearchResult(NamedTuple):
    """The result of a search."""

    dropped: ExpertSet
    error: float
    tried: int
    """Number of sets whose error was computed."""


def observed(block: WalkedBlock, experts: Experts, progressive: bool) -> Iterator[Batch]:
    """Run the calibration set through a block and yield what its errors are computed from."""
    own = routed(block)
    pairs = zip(own, routed(block.beside), strict=True) if progressive else ((b, None) for b in own)
    for batch, dense in pairs:
        outputs = [experts.output(j, batch.x) for j in range(experts.count)]
        target = all_gates(experts, batch.logits)  # Z as the sum of the block's own experts
        if dense is not None:
            outputs.append(dense.y)  # Z of the dense model
            target = pad(torch.zeros_like(target), (0, 1), value=1.0)
        rows = torch.stack(outputs, dim=1).double()  # [tokens, rows, hidden]
        if not bool(rows.isfinite().all()):  # perhaps of an expert that no token has chosen
            raise NumericsError(
                f"block {block.index}: the output of an expert contains NaN or infinity; load the "
                "model in a wider dtype (--dtype float32)"
            )
        yield Batch(batch.logits, rows @ rows.mT, target)


def all_gates(experts: Experts, logits: Tensor) -> Tensor:
    """Return the gate of every expert, zero if it is not chosen, `[tokens, experts]`, fp64."""
    gates, chosen = experts.route(logits)
    return torch.zeros_like(logits, dtype=torch.float64).scatter(1, chosen, gates.double())


def exhaustive(layer: Layer, lost: int, official_norm: bool) -> SearchResult:
    """Try all sets of `lost` experts, in lexicographic order; of equal errors the first counts."""
    sets = list(combinations(range(layer.experts.count), lost))
    errors = [layer.error(dropped, official_norm) for dropped in track(sets, "trying sets")]
    best = min(range(len(sets)), key=errors.__getitem__)
    return SearchResult(sets[best], errors[best], len(sets))


def greedy(layer: Layer, lost: int, official_norm: bool) -> SearchResult:
    """Drop the expert that costs least, and repeat; of equal errors the first counts."""
    dropped: ExpertSet = ()
    error, tried = 0.0, 0
    for _ in range(lost):
        trials = {
            j: layer.error((*dropped, j), official_norm)
            for j in range(layer.experts.count)
            if j not in dropped
        }
        best = min(trials, key=trials.__getitem__)
        dropped, error, tried = (*dropped, best), trials[best], tried + len(trials)
    return SearchResult(tuple(sorted(dropped)), error, tried)
