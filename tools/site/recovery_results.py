"""Results of recovery training after pruning, and of methods that train while pruning."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from markupsafe import Markup

from implementations.harness.results.boards import Board, Row, measured_alike
from implementations.harness.results.metric import tie
from implementations.harness.results.ranking import TRAINS, Loss
from implementations.harness.results.record import Record, TextInfo
from tools.site.atlas import Atlas
from tools.site.formatting import number
from tools.site.methods_by_information import structured_answers
from tools.site.svg_figures import MARGIN, MARKS, Width, mark, svg, text

LETTER = 0.6  # width of a letter relative to the font size
GAP = 9  # between a name and its line


@dataclass(frozen=True)
class RecoveredMethod:
    """Perplexity of one method before and after recovery training."""

    row: Row
    before: float
    after: float
    ratio: float
    """Perplexity after training over that of the dense model after the same training."""


@dataclass(frozen=True)
class RecoveryResults:
    """The methods of one board, best first after training, and the dense model."""

    board: Board
    methods: tuple[RecoveredMethod, ...]
    dense: Record
    """The dense model after the same training."""

    @property
    def metric(self) -> str:
        """Name of the metric that ranks the board."""
        return self.board.metrics[0]

    @property
    def dense_before(self) -> float:
        """The metric of the dense model before training."""
        assert self.dense.recovered is not None  # it is on a board of recovered models
        return self.dense.recovered.before[self.metric]

    @property
    def dense_after(self) -> float:
        """The metric of the dense model after training."""
        return self.dense.values[self.metric]


def recovery_results(atlas: Atlas) -> list[RecoveryResults]:
    """Return the recovered boards with structured methods, those with the most first."""
    by_run = {record.run: record for record in atlas.records if record.recovered}
    results = [
        RecoveryResults(board, _methods(board, atlas), by_run[board.dense.run])
        for board in atlas.boards
        if board.recovery and board.dense.run in by_run
    ]
    results = [one for one in results if one.methods]
    return sorted(results, key=lambda one: -len(one.methods))


def _methods(board: Board, atlas: Atlas) -> tuple[RecoveredMethod, ...]:
    name = board.metrics[0]
    methods = []
    for answer in structured_answers(board, atlas):
        before, after = answer.row.before(name), answer.row.value(name)
        if before and after and answer.ratio is not None:
            methods.append(RecoveredMethod(answer.row, before.mean, after.mean, answer.ratio))
    return tuple(methods)


def methods_that_train(boards: Iterable[Board]) -> list[tuple[Board, list[Row]]]:
    """Return the rows of methods that train while pruning, for each board without recovery."""
    result = []
    for board in boards:
        rows = [row for row in board.rows if row.first.course and row.ratio(board.metrics[0])]
        if rows and not board.recovery:
            result.append((board, rows))
    return result


@dataclass(frozen=True)
class TrainingComparison:
    """A method that trains while pruning, and the best method that was trained after pruning."""

    row: Row
    value: float
    other: Row | None
    """The best method trained on at most as many tokens; None if there is none."""
    other_value: float
    tie: float
    """The share of a perplexity within which another one is equal."""

    @property
    def same_text(self) -> bool:
        """Whether both were trained on the same text, so that they can be compared."""
        if self.other is None:
            return False
        own, others = training_text(self.row), training_text(self.other)
        return bool(own and others and own.source_sha256 == others.source_sha256)

    @property
    def better(self) -> bool:
        """Whether training while pruning gives a clearly lower perplexity."""
        return Loss(self.value).clearly_below(Loss(self.other_value, tie=self.tie))

    @property
    def level(self) -> bool:
        """Whether the two perplexities count as equal."""
        other = Loss(self.other_value, tie=self.tie)
        return not self.better and not other.clearly_below(Loss(self.value, tie=self.tie))


def compare_training(atlas: Atlas) -> list[tuple[Board, list[TrainingComparison]]]:
    """Compare structured methods that train while pruning with training after pruning.

    Compares perplexity itself rather than its ratio to dense, because training adapts weights to
    the kind of text, pruned or not. Boards without any comparison are left out.
    """
    result = []
    for board in atlas.boards:
        alike = measured_alike(board.newest)
        recovered = [b for b in atlas.boards if b.recovery and measured_alike(b.newest) == alike]
        if board.recovery or not recovered:
            continue
        name = board.metrics[0]
        others = [
            answer.row
            for one in recovered
            for answer in structured_answers(one, atlas)
            if not answer.row.first.course
        ]
        compared = [
            _compare(answer.row, others, name)
            for answer in structured_answers(board, atlas)
            if answer.kind == TRAINS
        ]
        if any(one.other for one in compared):
            result.append((board, sorted(compared, key=lambda one: one.value)))
    return result


def _compare(row: Row, others: Iterable[Row], name: str) -> TrainingComparison:
    course, own, ratio = row.first.course, row.value(name), row.ratio(name)
    assert course is not None  # the method trains
    assert own is not None  # a row with a ratio has the metric
    assert ratio is not None
    candidates = [
        (value.mean, other)
        for other in others
        if (after := other.first.recovered) and after.read <= course.read
        if (value := other.value(name))
    ]
    least, best = min(candidates, key=lambda one: one[0], default=(math.inf, None))
    return TrainingComparison(row, own.mean, best, least, tie(ratio.mean))


def training_text(row: Row) -> TextInfo | None:
    """Return the text that the weights of a row were trained on: the domain text if it has one."""
    by_role = {text.role: text for text in row.first.texts}
    return by_role.get("domain", by_role.get("training"))


def draw_before_after(results: RecoveryResults, names: Mapping[str, str], width: Width) -> Markup:
    """Draw one line per method from before to after training, on a logarithmic axis."""
    labels = [names.get(method.row.method, method.row.method) for method in results.methods]
    left = max(map(len, ["perplexity", *labels])) * LETTER * width.font + GAP
    high, top = width.font * 1.7, width.font + 12
    lowest = min(results.dense_after, results.dense_before) / 1.05
    highest = max(method.before for method in results.methods) * 1.1
    across = width.pixels - left - MARGIN
    bottom = top + high * len(results.methods)

    def at(value: float) -> float:
        return left + across * math.log(value / lowest) / math.log(highest / lowest)

    parts = [text(0, width.font, "perplexity", "start", width)]
    for tick in _ticks(lowest, highest, across / width.font):
        parts.append(f'<path class="is-rule" d="M{at(tick):.1f} {top}V{bottom:.1f}"/>')
        parts.append(text(at(tick), width.font, f"{tick:,}", "middle", width))
    parts.append(f'<path class="is-dense" d="M{at(results.dense_after):.1f} {top}V{bottom:.1f}"/>')
    for place, (method, name) in enumerate(zip(results.methods, labels, strict=True)):
        y = top + high * (place + 0.5)
        parts.append(text(left - GAP, y + width.font * 0.36, name, "end", width))
        parts.append(
            f'<path class="is-way" d="M{at(method.before):.1f} {y:.1f}H{at(method.after):.1f}"/>'
        )
        parts.append(
            mark(MARKS["left_out"], at(method.before), y, f"before: {number(method.before)}")
        )
        parts.append(mark(MARKS["pruned"], at(method.after), y, f"after: {number(method.after)}"))
    label = "Perplexity of each method before and after recovery, on a logarithmic axis"
    return svg(width.pixels, bottom + 4, label, "".join(parts))


def _ticks(lowest: float, highest: float, letters: float) -> list[int]:
    """Return round tick values: 1, 2 and 5 times powers of ten, or only powers of ten."""
    decades = math.log10(highest / lowest)
    steps = (1, 2, 5) if letters / decades > 30 else (1,)
    powers = range(math.floor(math.log10(lowest)), math.ceil(math.log10(highest)))
    ticks = [step * 10**power for power in powers if power >= 0 for step in steps]
    ticks = [tick for tick in ticks if lowest <= tick <= highest]
    # The axis starts with a number: the values of most methods are below the first power of ten.
    start = math.ceil(lowest)
    far = math.log10(ticks[0] / start) / decades * letters > 3 if ticks else True
    return [start, *ticks] if far and start <= highest else ticks
