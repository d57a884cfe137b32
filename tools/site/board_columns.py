"""The columns of a board, for the table, the script and exported files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from implementations.harness.results.boards import Board, Row, Spread
from implementations.harness.results.metric import AGREEMENT, DIVERGENCE, PERPLEXITY, metric
from implementations.harness.results.ranking import (
    beside_dense,
    has_divergence,
    ranking_metrics,
    ratio_to_dense,
)
from implementations.harness.results.record import LARGEST_SPREAD
from tools.catalog.schema.paper import Fidelity
from tools.site.answers import share, share_label
from tools.site.atlas import Atlas
from tools.site.formatting import count, measurement, memory, number, percent, seconds

CHIPS = ("10", "20", "30", "50", "60", "70", "2:4", "4:8")
"""Choices of the filter: percent removed, and N:M patterns."""
FIDELITIES = get_args(Fidelity)
NOISY = f"the ratio varied by more than a factor of {LARGEST_SPREAD:g} between repeats"
RATIO = "ratio"
"""The column that ranks the rows."""


@dataclass(frozen=True)
class Cell:
    """One cell of the table."""

    text: str = ""
    note: str = ""
    """Shown in small type after the text."""
    value: float | None = None
    """The number to sort by and to export; None if not measured."""
    deviation: float | None = None
    title: str = ""
    """Why the number is missing."""


@dataclass(frozen=True)
class Column:
    """One column: its name in the address, its heading and its contents."""

    key: str
    label: str
    cell: Callable[[Row], Cell]
    dense: str = ""
    """The contents in the dense row."""
    title: str = ""
    higher_is_better: bool = False
    """Whether higher is better."""
    extra: bool = False
    """Whether it is hidden by default."""


def columns(board: Board, atlas: Atlas) -> list[Column]:
    """List the columns after the settings, the one that ranks first."""
    weighs = board.dense.footprint
    return [
        Column(RATIO, "× dense", lambda row: _spread(ratio_to_dense(row, board)), "1.00"),
        *([_before(board)] if board.recovery else []),
        *(_measured(board, name) for name in board.metrics if metric(name).relative),
        *(_beside_dense(board) if has_divergence(board) else []),
        Column("parameters", "Parameters", _parameters, count(weighs.parameters), extra=True),
        Column(
            "nonzero",
            "Nonzero",
            lambda row: Cell(count(row.footprint.nonzero), value=row.footprint.nonzero),
            count(weighs.nonzero),
            "parameters other than zero",
            extra=True,
        ),
        Column(
            "macs",
            "MACs",
            lambda row: Cell(count(row.footprint.macs), value=row.footprint.macs),
            count(weighs.macs),
            "multiply-accumulates of the linear layers per token",
            extra=True,
        ),
        Column("prefill", "Prefill", _rate("prefill"), "1.00", higher_is_better=True, extra=True),
        Column("speed", "Speed", _rate("decode"), "1.00", higher_is_better=True),
        Column(
            "memory", "Memory", lambda row: Cell(memory(row.memory), value=row.memory), extra=True
        ),
        Column("time", "Pruning", _pruning),
        Column(
            "fidelity",
            "Fidelity",
            lambda row: _fidelity(row, atlas),
            title="how the implementation follows the paper",
        ),
    ]


def removed(row: Row) -> Cell:
    """Return the requested sparsity, and the achieved one if whole units could not reach it."""
    note = f"({percent(row.achieved)} met)" if row.missed else ""
    return Cell(row.settings, note, row.achieved)


def _measured(board: Board, name: str) -> Column:
    return Column(
        name,
        board.heading(name),
        lambda row: _spread(row.value(name)),
        number(board.dense.values[name]) if name in board.dense.values else "",
        name,
        higher_is_better=not board.lower_is_better(name),
        extra=metric(name).kind == PERPLEXITY.kind and name not in ranking_metrics(board),
    )


def _beside_dense(board: Board) -> Iterator[Column]:
    """Yield divergence and agreement as means over the ranking texts, like the first column."""
    # After fine-tuning, the dense row is no longer the model that all others are compared with.
    same = board.recovery is None
    yield Column(
        DIVERGENCE.kind,
        DIVERGENCE.heading,
        lambda row: _spread(beside_dense(row, board, DIVERGENCE), DIVERGENCE.kind),
        "0" if same else "",
        "mean KL divergence from the dense model, in nats per token",
    )
    yield Column(
        AGREEMENT.kind,
        AGREEMENT.heading.capitalize(),
        lambda row: _spread(beside_dense(row, board, AGREEMENT), AGREEMENT.kind),
        "100 %" if same else "",
        "share of tokens with the same most likely prediction as the dense model",
        higher_is_better=True,
    )


def _spread(value: Spread | None, name: str = "") -> Cell:
    if value is None:
        return Cell()
    note = "" if value.deviation is None else f"± {measurement(value.deviation, name)}"
    return Cell(measurement(value.mean, name), note, value.mean, value.deviation)


def _before(board: Board) -> Column:
    name = board.metrics[0]
    return Column("before", f"{board.heading(name)} before", lambda row: _spread(row.before(name)))


def _fidelity(row: Row, atlas: Atlas) -> Cell:
    word = fidelity(row.method, atlas)
    return Cell(word.replace("-", " "), value=FIDELITIES.index(word)) if word else Cell()


def fidelity(slug: str, atlas: Atlas) -> str:
    """Return how the implementation of a method follows its paper; empty if not rated."""
    paper = atlas.papers.get(slug)
    return (paper.fidelity if paper else None) or ""


def _parameters(row: Row) -> Cell:
    found = row.footprint
    note = "" if row.first.structured else f"{percent(row.zeros)} zero"
    return Cell(count(found.parameters), note, found.parameters)


def _rate(kind: str) -> Callable[[Row], Cell]:
    """Show a speed, or the reason why it is not shown."""

    def cell(row: Row) -> Cell:
        rate = row.rate(kind)
        if rate:
            return Cell(number(rate.ratio), f"({number(rate.low)}–{number(rate.high)})", rate.ratio)
        if not row.first.structured:
            return Cell(note="no gain", title=row.first.speed.note)
        if others := row.other_processors:
            return Cell(note="other CPU", title=f"measured on {', '.join(others)}")
        if not all(record.speed.steady for record in row.records):
            return Cell(note="too noisy", title=NOISY)
        return Cell(note="not measured", title=row.first.speed.note)

    return cell


def _pruning(row: Row) -> Cell:
    spread = row.seconds("prune")
    if not spread:
        known = any("prune" in record.seconds for record in row.records)
        others = sorted({record.hardware.timing for record in row.records})
        return (
            Cell(note="other machine", title=f"measured on {'; '.join(others)}")
            if known
            else Cell()
        )
    return Cell(time_range(row), value=spread.mean, deviation=spread.deviation)


def time_range(row: Row, phase: str = "prune") -> str:
    """Return the time of a phase: the range over seeds if there are several, empty if unknown."""
    times = row.times(phase)
    if not times:
        return ""
    low, high = seconds(min(times)), seconds(max(times))
    unit = low[-2:]
    return (
        low if low == high else f"{low.removesuffix(unit) if high.endswith(unit) else low}–{high}"
    )


def group_note(rows: Sequence[Row]) -> str:
    """Return the note beside the heading of a group: why it is not faster, if it is not."""
    return "" if rows[0].first.structured else rows[0].first.speed.note


def groups_by_family(board: Board) -> list[tuple[str, str, list[Row]]]:
    """Return the rows by family, each with heading and note."""
    return [(family, group_note(rows), rows) for family, rows in board.families]


def shares(board: Board) -> Iterator[tuple[str, str, int]]:
    """Yield the choices of the filter: name in the address, label and number of rows."""
    settings = [share(row.first) for row in board.rows]
    for chip in CHIPS:
        yield chip, share_label(chip), settings.count(chip)
    if others := sum(one not in CHIPS for one in settings):
        yield "other", "other", others
