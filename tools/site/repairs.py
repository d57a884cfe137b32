"""What training won back after pruning, method by method, and what it is worth while pruning."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from implementations.harness.results.boards import Board, Row, measured_alike
from implementations.harness.results.record import Record, TextInfo
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


@dataclass(frozen=True)
class Duel:
    """A method that trains to prune, and the best of those that were pruned and then trained."""

    row: Row
    value: float
    rival: Row | None
    """It read no more tokens after pruning; None where none did."""
    rival_value: float

    @property
    def fair(self) -> bool:
        """Whether both are known and were trained on one text, so that they may be compared."""
        if self.rival is None:
            return False
        own, other = text_read(self.row), text_read(self.rival)
        return bool(own and other and own.source_sha256 == other.source_sha256)

    @property
    def won(self) -> bool:
        """Whether training while pruning left less."""
        return self.value < self.rival_value


def duels(boards: Sequence[Board]) -> list[tuple[Board, list[Duel]]]:
    """Set structured methods that train to prune, each by its best row, against training after.

    Compared are absolute values, as weights that are trained take on the text, pruned or not.
    Boards on which nobody has a rival are left out.
    """
    found = []
    for board in boards:
        alike = measured_alike(board.newest)
        others = [b for b in boards if b.recovery and measured_alike(b.newest) == alike]
        if board.recovery or not others:
            continue
        name = board.metrics[0]
        rivals = [row for other in others for row in best(other) if not row.first.course]
        met = [_duel(row, rivals, name) for row in best(board) if row.first.course]
        if any(duel.rival for duel in met):
            found.append((board, sorted(met, key=lambda duel: duel.value)))
    return found


def _duel(row: Row, rivals: Iterable[Row], name: str) -> Duel:
    course = row.first.course
    assert course is not None  # it trains
    own = row.value(name)
    assert own is not None  # it ranks
    beside = [
        (value.mean, rival)
        for rival in rivals
        if (after := rival.first.recovered) and after.read <= course.read
        if (value := rival.value(name))
    ]
    least, rival = min(beside, key=lambda one: one[0], default=(math.inf, None))
    return Duel(row, own.mean, rival, least)


def text_read(row: Row) -> TextInfo | None:
    """Return the text that a row's weights were trained on: of one kind, where it asks for that."""
    by_role = {text.role: text for text in row.first.texts}
    return by_role.get("domain", by_role.get("training"))


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
