"""Structured methods grouped by the information they use to score units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from implementations.harness.results.boards import Board, Row
from tools.catalog.schema.paper import Paper, Taxonomy

SPARSITY = 0.2
"""The sparsity at which structured methods are compared, as in most papers."""


@dataclass(frozen=True)
class Information:
    """What a method looks at to decide what to remove."""

    name: str
    about: str


RANDOM = Information("Nothing", "removes units at random")
WEIGHTS = Information("Weights", "needs no text")
ACTIVATIONS = Information("Activations", "forward passes over a little text")
TRIALS = Information("Measured loss", "evaluates pruned models")
GRADIENTS = Information("Gradients", "backward passes or estimates of them")
TRAINING = Information("Training", "trains masks or weights")
ALL = (RANDOM, WEIGHTS, ACTIVATIONS, TRIALS, GRADIENTS, TRAINING)
"""From the cheapest to the most expensive."""


def information_used(taxonomy: Taxonomy) -> Information:
    """Return the information that a method uses, from the words of its entry."""
    if "random" in taxonomy.criterion:
        return RANDOM
    if "loss-change" in taxonomy.criterion and taxonomy.calibration == "forward":
        return TRIALS
    by_calibration = {"none": WEIGHTS, "gradients": GRADIENTS, "training": TRAINING}
    return by_calibration.get(taxonomy.calibration or "", ACTIVATIONS)


def methods_by_information(
    board: Board, papers: Mapping[str, Paper]
) -> list[tuple[Information, list[Row]]]:
    """Group the best row of each structured method of a board, the best method first."""
    groups: dict[Information, list[Row]] = {one: [] for one in ALL}
    for row in best_structured_rows(board):
        taxonomy = papers[row.method].taxonomy if row.method in papers else None
        if taxonomy is not None:
            groups[information_used(taxonomy)].append(row)
    return [(one, rows) for one, rows in groups.items() if rows]


def best_structured_rows(board: Board) -> list[Row]:
    """Return the best row of each structured method at `SPARSITY`, the best method first.

    Rows without the board's first metric are left out.
    """
    best: dict[str, Row] = {}
    for row in board.rows:
        if row.first.structured and round(row.first.asked, 3) == SPARSITY and _ratio(board, row):
            other = best.get(row.method)
            if other is None or _ratio(board, row) < _ratio(board, other):
                best[row.method] = row
    return sorted(best.values(), key=lambda row: _ratio(board, row))


def _ratio(board: Board, row: Row) -> float:
    """Return perplexity over dense; 0 if the row has none."""
    ratio = row.ratio(board.metrics[0])
    return ratio.mean if ratio else 0.0
