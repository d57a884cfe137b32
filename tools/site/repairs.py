"""What training after pruning won back, method by method, on a board of recovered models."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from markupsafe import Markup

from implementations.harness.results.boards import Board, Row
from implementations.harness.results.record import Record
from tools.site.figures import MARGIN, MARKS, Width, mark, svg, text
from tools.site.looks import best
from tools.site.words import number

LETTER = 0.6  # width of a letter, in heights of the font
GAP = 9  # between a name and its line


@dataclass(frozen=True)
class Repair:
    """One method before and after, in perplexity."""

    row: Row
    before: float
    after: float
    ratio: float
    """What it is after, over the dense model after the same training."""


@dataclass(frozen=True)
class Repairs:
    """The methods of one board, best first after recovery, beside the dense model."""

    board: Board
    methods: tuple[Repair, ...]
    dense: Record
    """The dense model after the same training."""

    @property
    def metric(self) -> str:
        """Name of what ranks."""
        return self.board.metrics[0]

    @property
    def untrained(self) -> float:
        """The dense model before."""
        assert self.dense.recovered is not None  # it lies on a board of recovered models
        return self.dense.recovered.before[self.metric]

    @property
    def trained(self) -> float:
        """The dense model after."""
        return self.dense.values[self.metric]


def repairs(boards: Iterable[Board], records: Iterable[Record]) -> Repairs | None:
    """Take the recovered board with the most structured methods; None where there is none."""
    by_run = {record.run: record for record in records if record.recovered}
    found = [
        Repairs(board, _methods(board), by_run[board.dense.run])
        for board in boards
        if board.recovery and board.dense.run in by_run
    ]
    found = [one for one in found if one.methods]
    return max(found, key=lambda one: len(one.methods), default=None)


def _methods(board: Board) -> tuple[Repair, ...]:
    name = board.metrics[0]
    found = []
    for row in best(board):
        before, after, ratio = row.before(name), row.value(name), row.ratio(name)
        if before and after and ratio:
            found.append(Repair(row, before.mean, after.mean, ratio.mean))
    return tuple(found)


def trained(boards: Iterable[Board]) -> list[tuple[Board, list[Row]]]:
    """Take the rows of methods that train to prune, of boards without recovery, best first."""
    found = []
    for board in boards:
        rows = [row for row in board.rows if row.first.course and row.ratio(board.metrics[0])]
        if rows and not board.recovery:
            found.append((board, rows))
    return found


def dumbbells(found: Repairs, names: Mapping[str, str], width: Width) -> Markup:
    """Draw a line a method, from before to after, over a logarithmic axis of perplexity."""
    labels = [names.get(repair.row.method, repair.row.method) for repair in found.methods]
    left = max(map(len, ["perplexity", *labels])) * LETTER * width.font + GAP
    high, top = width.font * 1.7, width.font + 12
    lowest = min(found.trained, found.untrained) / 1.05
    highest = max(repair.before for repair in found.methods) * 1.1
    across = width.pixels - left - MARGIN
    bottom = top + high * len(found.methods)

    def at(value: float) -> float:
        return left + across * math.log(value / lowest) / math.log(highest / lowest)

    parts = [text(0, width.font, "perplexity", "start", width)]
    for tick in _ticks(lowest, highest, across / width.font):
        parts.append(f'<path class="is-rule" d="M{at(tick):.1f} {top}V{bottom:.1f}"/>')
        parts.append(text(at(tick), width.font, f"{tick:,}", "middle", width))
    parts.append(f'<path class="is-dense" d="M{at(found.trained):.1f} {top}V{bottom:.1f}"/>')
    for place, (repair, name) in enumerate(zip(found.methods, labels, strict=True)):
        y = top + high * (place + 0.5)
        parts.append(text(left - GAP, y + width.font * 0.36, name, "end", width))
        parts.append(
            f'<path class="is-way" d="M{at(repair.before):.1f} {y:.1f}H{at(repair.after):.1f}"/>'
        )
        parts.append(
            mark(MARKS["left_out"], at(repair.before), y, f"before: {number(repair.before)}")
        )
        parts.append(mark(MARKS["pruned"], at(repair.after), y, f"after: {number(repair.after)}"))
    label = "Perplexity of each method before and after recovery, on a logarithmic axis"
    return svg(width.pixels, bottom + 4, label, "".join(parts))


def _ticks(lowest: float, highest: float, letters: float) -> list[int]:
    """Return round values on the axis: 1, 2 and 5 in every ten, or the powers of ten alone."""
    decades = math.log10(highest / lowest)
    steps = (1, 2, 5) if letters / decades > 30 else (1,)
    powers = range(math.floor(math.log10(lowest)), math.ceil(math.log10(highest)))
    found = [step * 10**power for power in powers if power >= 0 for step in steps]
    return [tick for tick in found if lowest <= tick <= highest]
