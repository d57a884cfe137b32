"""The columns of a board, for the table, the script and exported files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from implementations.harness.results.boards import QUANTISED, Board, Row, Spread
from implementations.harness.results.record import Record
from tools.site.formatting import count, memory, number, percent

CHIPS = ("10", "20", "30", "50", "70", "2:4", "4:8")
"""Choices of the filter: percent removed, and N:M patterns."""
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
    down: bool = False
    """Whether higher is better."""
    extra: bool = False
    """Whether it is hidden by default."""


def columns(board: Board) -> list[Column]:
    """List the columns with numbers, the one that ranks first."""
    weighs = board.dense.footprint
    return [
        Column(RATIO, "× dense", lambda row: _spread(row.ratio(board.metrics[0])), "1.00"),
        *(_measured(board, metric) for metric in board.metrics),
        Column("parameters", "Parameters", _parameters, count(weighs.parameters)),
        Column(
            "macs",
            "MACs",
            lambda row: Cell(count(row.footprint.macs), value=row.footprint.macs),
            count(weighs.macs),
            "multiply-accumulates of the linear layers per token",
            extra=True,
        ),
        Column("prefill", "Prefill", _rate("prefill"), "1.00", down=True, extra=True),
        Column("speed", "Speed", _rate("decode"), "1.00", down=True),
        Column(
            "memory", "Memory", lambda row: Cell(memory(row.memory), value=row.memory), extra=True
        ),
        Column("time", "Pruning", _pruning),
    ]


def share(record: Record) -> str:
    """Return the requested percentage or pattern: `50`, `2:4`."""
    return record.pattern or f"{round(100 * record.asked, 1):g}"


def chip_label(chip: str) -> str:
    """Format a choice of the filter: `50 %`, `2:4`."""
    return chip if ":" in chip else f"{chip} %"


def ranks(board: Board, rows: Sequence[Row]) -> dict[str, int]:
    """Rank the rows at each sparsity by their ratio to dense; keys are those of the first record.

    Collapsed and quantised models have no rank; equal ratios have equal ranks.
    """
    groups: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for row in rows:
        ratio = row.ratio(board.metrics[0])
        if ratio and ranked(row):
            groups[share(row.first)].append((ratio.mean, row.first.key))
    return {
        key: 1 + sum(other < loss for other, _ in group)
        for group in groups.values()
        for loss, key in group
    }


def ranked(row: Row) -> bool:
    """Whether a row is ranked."""
    return not row.collapsed and row.family != QUANTISED


def removed(row: Row) -> Cell:
    """Return the requested sparsity, and the achieved one if whole units could not reach it."""
    note = f"({percent(row.achieved)} met)" if row.missed else ""
    return Cell(row.settings, note, row.achieved)


def _measured(board: Board, metric: str) -> Column:
    return Column(
        metric,
        board.heading(metric),
        lambda row: _spread(row.value(metric)),
        number(board.dense.values[metric]) if metric in board.dense.values else "",
        metric,
        down=not board.lower_is_better(metric),
    )


def _spread(value: Spread | None) -> Cell:
    if value is None:
        return Cell()
    note = "" if value.deviation is None else f"± {number(value.deviation)}"
    return Cell(number(value.mean), note, value.mean, value.deviation)


def _parameters(row: Row) -> Cell:
    found = row.footprint
    note = "" if row.first.structured else f"{percent(row.zeros)} zero"
    return Cell(count(found.parameters), note, found.nonzero)


def _rate(kind: str) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        rate = row.rate(kind)
        if rate:
            return Cell(number(rate.ratio), f"({number(rate.low)}–{number(rate.high)})", rate.ratio)
        missing = "not measured" if row.first.structured else "no gain"
        return Cell(note=missing, title=row.first.speed.note)

    return cell


def _pruning(row: Row) -> Cell:
    spread = row.seconds("prune")
    if not spread:
        return Cell()
    note = "" if spread.deviation is None else f"± {number(spread.deviation, 1)}"
    return Cell(f"{number(spread.mean, 1)} s", note, spread.mean, spread.deviation)


def shares(board: Board) -> Iterator[tuple[str, str, int]]:
    """Yield the choices of the filter: name in the address, label and number of rows."""
    settings = [share(row.first) for row in board.rows]
    for chip in CHIPS:
        yield chip, chip_label(chip), settings.count(chip)
    if others := sum(one not in CHIPS for one in settings):
        yield "other", "other", others
