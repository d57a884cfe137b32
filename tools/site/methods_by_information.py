"""Structured methods grouped by the information they use to score units."""

from __future__ import annotations

from dataclasses import dataclass

from implementations.harness.results.boards import Board
from tools.catalog.schema.paper import Taxonomy
from tools.site.answers import Answer, Ranking
from tools.site.atlas import Atlas

SPARSITY = 0.2
"""The sparsity at which structured methods are compared, as in most papers."""


@dataclass(frozen=True)
class Information:
    """The information that a method scores units with."""

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


def methods_by_information(board: Board, atlas: Atlas) -> list[tuple[Information, list[Answer]]]:
    """Group the structured methods of a board, the best first."""
    groups: dict[Information, list[Answer]] = {one: [] for one in ALL}
    for answer in structured_answers(board, atlas):
        paper = atlas.papers.get(answer.method)
        if paper and paper.taxonomy:
            groups[information_used(paper.taxonomy)].append(answer)
    return [(one, answers) for one, answers in groups.items() if answers]


def structured_answers(board: Board, atlas: Atlas) -> list[Answer]:
    """Return the results of structured methods at `SPARSITY`, of all classes, the best first."""
    found = [
        (answer.ratio, answer)
        for answer in Ranking(board, atlas).at(f"{100 * SPARSITY:g}")
        if answer.question.structured and answer.ratio is not None
    ]
    return [answer for _, answer in sorted(found, key=lambda one: one[0])]
