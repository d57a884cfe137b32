"""The rules of every ranking: which rows compete, on which texts, and when they are equal.

- Rows compete if the same share was removed, by removing units or by setting weights to zero, and
  if they belong to the same **class**: pruned only, trained while pruning, trained afterwards,
  pruned after a prompt, activation sparsity, or quantised.
- The **loss** of a row is the mean ratio to dense over the texts of the protocol that are of
  another kind than its calibration text, because most methods read that one. All rows are compared
  on the same texts. A row that trained on such a text, collapsed, removed clearly less than
  requested, or was measured by older code has no loss and no rank.
- Two losses are **equal** if they differ by at most the sum of their standard deviations over
  seeds, if both have three seeds or more, and otherwise if their logarithms, the cross-entropy that
  pruning added in nats per token, differ by at most 5 %.
- A **rank** is the range of places that a row may have: one more than the number of rows that are
  clearly better, up to the number of rows that are not clearly worse.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from implementations.harness.results.boards import ACTIVATIONS, QUANTISED, Board, Row, Spread
from implementations.harness.results.metric import (
    AFTER_PROMPT,
    DIVERGENCE,
    PERPLEXITIES,
    TIE,
    Metric,
    beside,
    metric,
    tie,
)
from implementations.harness.results.protocol import MEASUREMENT
from implementations.harness.results.record import Record
from implementations.harness.results.store import IMPLEMENTATIONS

ONE_SHOT = "one-shot"
TRAINS = "trained while pruning"
RECOVERED = "trained afterwards"
PROMPTED = "after a prompt"
DROPS = "activation sparsity"
QUANTISES = "quantised"
CLASSES = {
    ONE_SHOT: "pruned without training the model; a method may train one decoder layer at a time",
    TRAINS: "weights, masks or scores of the whole model are trained while pruning",
    RECOVERED: "pruned, then trained on more text",
    PROMPTED: "units are selected for each prompt, so all weights stay in memory",
    DROPS: "each token drops activations of its own, so all weights stay in memory",
    QUANTISES: "pruned and quantised",
}
"""Classes of results that are ranked separately, each with its meaning."""
SEEDS = 3
"""Minimum number of seeds for deciding ties by the spread over seeds."""
SHORTFALL = 0.02
"""A ranked row misses the requested sparsity by at most this share of the weights."""
_KINDS = {
    "wikitext2": "wikipedia",
    "wikitext2-train": "wikipedia",
    "c4-train": "c4",
    "c4-validation": "c4",
}

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Loss:
    """Mean ratio to dense of a row; `deviation` over seeds if there are at least `SEEDS`.

    Without it, lower losses that differ from this one by at most the share `tie` are equal.
    """

    mean: float
    deviation: float | None = None
    tie: float = TIE

    def clearly_below(self, other: Loss) -> bool:
        """Return whether this loss is lower than another one by more than the noise."""
        if self.deviation is not None and other.deviation is not None:
            return other.mean - self.mean > self.deviation + other.deviation
        return self.mean < other.mean * (1 - other.tie)


@dataclass(frozen=True)
class Rank:
    """The places that a row may have, from 1; written as `2` or `2–4`."""

    first: int
    last: int

    def __str__(self) -> str:
        """Return the place, or the range of places."""
        return f"{self.first}" if self.first == self.last else f"{self.first}–{self.last}"


def class_of(row: Row) -> str:
    """Return the class of a row, a key of `CLASSES`."""
    if row.family == QUANTISED:
        return QUANTISES
    if row.family == ACTIVATIONS:
        return DROPS
    if any(metric(name).kind == AFTER_PROMPT.kind for name in row.first.values):
        return PROMPTED
    if row.first.recovered:
        return RECOVERED
    return TRAINS if row.first.course else ONE_SHOT


def ranking_metrics(board: Board) -> tuple[str, ...]:
    """Return the perplexities that rank a board.

    They are measured on texts of another kind than the calibration text. If a protocol has none,
    its first metric ranks.
    """
    protocol = board.newest.protocol
    calibrated = text_kind(protocol.calibration.text)
    unread = {
        evaluation.metric.partition("/")[2]
        for evaluation in protocol.evaluations
        if text_kind(evaluation.text) != calibrated
    }
    names = [
        name
        for name in board.metrics
        if name.partition("/")[0] in PERPLEXITIES and name.partition("/")[2] in unread
    ]
    return tuple(names) or board.metrics[:1]


def trained_on(row: Row, board: Board) -> tuple[str, ...]:
    """Return the kinds of ranking text that the row trained on."""
    read = {
        text_kind(text.source)
        for record in row.records
        for text in record.texts
        if not text.measured and text.role != "calibration"
    }
    ranked = {name.partition("/")[2] for name in ranking_metrics(board)}
    kinds = [
        text_kind(evaluation.text)
        for evaluation in board.newest.protocol.evaluations
        if evaluation.metric.partition("/")[2] in ranked
    ]
    return tuple(kind for kind in dict.fromkeys(kinds) if kind in read)


def ratio_to_dense(row: Row, board: Board) -> Spread | None:
    """Return the mean ratio to dense over the ranking texts; None if a run lacks a value."""
    return _mean_over_texts(row, ranking_metrics(board), Record.ratio)


def beside_dense(row: Row, board: Board, kind: Metric) -> Spread | None:
    """Return the mean over the ranking texts of `DIVERGENCE` or `AGREEMENT`.

    Returns None if a run lacks a value.
    """
    names = [beside(name, kind) for name in ranking_metrics(board)]
    return _mean_over_texts(row, names, lambda record, name: record.values.get(name))


def has_divergence(board: Board) -> bool:
    """Return whether a row of the board has a divergence; older records have none."""
    return any(beside_dense(row, board, DIVERGENCE) for row in board.rows)


def _mean_over_texts(
    row: Row, names: Sequence[str], read: Callable[[Record, str], float | None]
) -> Spread | None:
    values = [[read(record, name) for name in names] for record in row.records]
    known = [[value for value in of_seed if value is not None] for of_seed in values]
    if any(len(of_seed) < len(names) for of_seed in known):
        return None
    return Spread.of([statistics.mean(of_seed) for of_seed in known])


def falls_short(row: Row) -> bool:
    """Return whether a row removed clearly less than requested, such as one that adds matrices."""
    return row.first.requested - row.achieved > SHORTFALL


def outdated(row: Row) -> bool:
    """Return whether a run was made by older code, whose values would be different today."""
    return any(
        record.measurement < MEASUREMENT or record.revision < revision_of(record.method)
        for record in row.records
    )


@cache
def revision_of(slug: str) -> int:
    """Return the `revision` in the class of a method of the atlas, or 1; imports no torch."""
    file = IMPLEMENTATIONS / slug / f"{slug}.py"
    code = file.read_text("utf-8") if file.is_file() else ""
    found = re.search(r"^    revision = (\d+)", code, re.MULTILINE)
    return int(found[1]) if found else 1


def loss(row: Row, board: Board) -> Loss | None:
    """Return the loss; None for a row without a rank (see the rules) or without a value."""
    spread = ratio_to_dense(row, board)
    excluded = row.collapsed or falls_short(row) or outdated(row) or trained_on(row, board)
    if excluded or not spread or not math.isfinite(spread.mean):
        return None
    deviation = spread.deviation if len(row.records) >= SEEDS else None
    return Loss(spread.mean, deviation, tie(spread.mean))


def ranks(losses: Mapping[Key, Loss]) -> dict[Key, Rank]:
    """Rank rows that compete with each other."""
    return {
        key: Rank(
            1 + sum(other.clearly_below(one) for other in losses.values()),
            len(losses) - sum(one.clearly_below(other) for other in losses.values()),
        )
        for key, one in losses.items()
    }


def text_kind(source: str) -> str:
    """Return the kind of a text, such as `c4` for `c4-train`; each local file is its own kind."""
    return _KINDS.get(source, source)
