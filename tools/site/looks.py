"""What the methods of one board look at, from nothing to gradients, and what it bought them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from implementations.harness.results.boards import Board, Row
from tools.catalog.schema.paper import Paper, Taxonomy

SHARE = 0.2
"""At which structured methods are compared, as most papers do."""


@dataclass(frozen=True)
class Look:
    """One way to look at a model before cutting it."""

    name: str
    about: str


CHANCE = Look("Chance", "draws what goes")
WEIGHTS = Look("Weights", "no text at all")
FORWARD = Look("Activations", "forward passes over a little text")
TRIALS = Look("Trials", "measures pruned models and goes by what came out")
GRADIENTS = Look("Gradients", "backward passes, or estimates of them")
TRAINING = Look("Training", "trains masks or weights")
LOOKS = (CHANCE, WEIGHTS, FORWARD, TRIALS, GRADIENTS, TRAINING)


def look_of(taxonomy: Taxonomy) -> Look:
    """Say what a method looks at, by the words of its entry."""
    if "random" in taxonomy.criterion:
        return CHANCE
    if "loss-change" in taxonomy.criterion and taxonomy.calibration == "forward":
        return TRIALS
    by_data = {"none": WEIGHTS, "gradients": GRADIENTS, "training": TRAINING}
    return by_data.get(taxonomy.calibration or "", FORWARD)


def looks(board: Board, papers: Mapping[str, Paper]) -> list[tuple[Look, list[Row]]]:
    """Sort the structured methods of a board by what they look at, each by its best row.

    In a group the best method comes first. What has not the board's first metric is left out.
    """
    groups: dict[Look, list[Row]] = {look: [] for look in LOOKS}
    for row in best(board):
        taxonomy = papers[row.method].taxonomy if row.method in papers else None
        if taxonomy is not None:
            groups[look_of(taxonomy)].append(row)
    return [(look, rows) for look, rows in groups.items() if rows]


def best(board: Board) -> list[Row]:
    """Take the best row of each structured method at `SHARE`, the best method first."""
    found: dict[str, Row] = {}
    for row in board.rows:
        if row.first.structured and round(row.first.asked, 3) == SHARE and _ratio(board, row):
            other = found.get(row.method)
            if other is None or _ratio(board, row) < _ratio(board, other):
                found[row.method] = row
    return sorted(found.values(), key=lambda row: _ratio(board, row))


def _ratio(board: Board, row: Row) -> float:
    """Perplexity over dense; 0 where the row has none."""
    ratio = row.ratio(board.metrics[0])
    return ratio.mean if ratio else 0.0
