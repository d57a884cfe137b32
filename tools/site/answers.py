"""Which method is best? The one query behind the home page, Choose, Catalog, boards and Use.

Each method is represented by one row per sparsity or pattern, and the ranks follow
`implementations.harness.results.ranking`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from implementations.harness.results.boards import Board, Row
from implementations.harness.results.metric import subject
from implementations.harness.results.protocol import PROTOCOLS
from implementations.harness.results.ranking import (
    CLASSES,
    DROPS,
    ONE_SHOT,
    Loss,
    Rank,
    class_of,
    falls_short,
    loss,
    outdated,
    ranking_metrics,
    ranks,
    ratio_to_dense,
    trained_on,
)
from implementations.harness.results.record import Record
from tools.site.atlas import Atlas
from tools.site.formatting import percent
from tools.site.paper_facts import words_of

BUDGET = (
    "steps",
    "updates",
    "samples",
    "pairs",
    "episodes",
    "generations",
    "population",
    "probes",
)
"""Fields that set how much a method computes; below the default, it is less than in the paper."""


MUCH = 50
"""Percentage from which papers report unstructured rather than structured pruning."""


SPLIT = "smollm2-135m-in-8-experts"
"""The model made by `contract/split_mixture.py`, on which expert pruning is measured."""


ABOUT = {
    PROTOCOLS["smol"].model: (", dequantised from four bits", "Larger models may lose less."),
    SPLIT: (
        ", a dense model that was split into experts and not trained as a mixture",
        "These numbers show that the code works, and nothing about real mixtures.",
    ),
}
"""Origin of a model, and how to read numbers on it."""


@dataclass(frozen=True)
class Question:
    """What is removed, how, and the class of results that are compared."""

    share: str
    """Percentage or pattern, such as `20` or `2:4`."""
    structured: bool
    kind: str = ONE_SHOT

    @property
    def label(self) -> str:
        """The question as a heading, such as `20 % removed, structured, one-shot`."""
        if ":" in self.share:
            return f"{self.share} pattern, {self.kind}"
        if self.kind == DROPS:
            return f"{share_label(self.share)} of the weights not read, {self.kind}"
        how = "structured" if self.structured else "unstructured"
        return f"{share_label(self.share)} removed, {how}, {self.kind}"

    @property
    def order(self) -> tuple[bool, float, bool, int]:
        """Key to sort questions: by share, then patterns; the usual kind at a share comes first."""
        first = float(self.share.partition(":")[0])
        usual = self.structured == (first < MUCH)
        return ":" in self.share, first, not usual, list(CLASSES).index(self.kind)


@dataclass(frozen=True)
class Answer:
    """The row that represents a method, with its loss and rank.

    Both are None if the row is not ranked.
    """

    row: Row
    ratio: float | None
    """Mean ratio to dense over the ranking texts, also if the row is not ranked."""
    loss: Loss | None
    rank: Rank | None
    competitors: int
    """Number of methods that are ranked for the same question."""
    budget: str
    """The part of the paper's budget that was used, such as `100 of 10,000 steps`, or empty."""
    unranked: str = ""
    """Why the row has no rank."""

    @property
    def method(self) -> str:
        """The method's slug."""
        return self.row.method

    @property
    def question(self) -> Question:
        """The question that the row answers."""
        return question_of(self.row)

    @property
    def kind(self) -> str:
        """The class of the row."""
        return class_of(self.row)

    @property
    def note(self) -> str:
        """The class, the reason for no rank, the budget and tuning, to show beside the number."""
        return _note(self.row, self.unranked, self.budget, tuned(self.row))


class Ranking:
    """The answers of one board."""

    def __init__(self, board: Board, atlas: Atlas) -> None:
        self.board = board
        self.atlas = atlas

    @property
    def shares(self) -> list[str]:
        """The measured shares in order, then the patterns."""
        return sorted(
            {removed for _, removed in self.rows},
            key=lambda removed: Question(removed, structured=True).order,
        )

    @cached_property
    def rows(self) -> Mapping[tuple[str, str], Row]:
        """The row that represents each method at each share, by slug and share.

        It is the one closest to the defaults: without changed switches if possible, then with the
        fewest changed fields, then with the largest budget. A number that is set to 0, such as
        `steps=0`, turns a part of the method off and counts as a switch.
        """
        found: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for row in self.board.rows:
            found[row.method, share(row.first)].append(row)
        return {key: min(rows, key=self.distance) for key, rows in found.items()}

    @cached_property
    def by_question(self) -> Mapping[Question, list[Answer]]:
        """The answers to every question, best first; rows without a rank are last."""
        groups: dict[Question, list[Row]] = defaultdict(list)
        for row in self.rows.values():
            groups[question_of(row)].append(row)
        return {question: self._answers(rows) for question, rows in groups.items()}

    @cached_property
    def by_row(self) -> Mapping[str, Answer]:
        """The answers by the key of the row's first record."""
        return {
            answer.row.first.key: answer
            for answers in self.by_question.values()
            for answer in answers
        }

    def best(self, question: Question) -> list[Answer]:
        """Answer a question; empty if nothing was measured."""
        return self.by_question.get(question, [])

    def answer(self, slug: str, removed: str) -> Answer | None:
        """Return the answer that represents a method at a share or pattern."""
        row = self.rows.get((slug, removed))
        return self.by_row[row.first.key] if row else None

    def at(self, removed: str) -> list[Answer]:
        """Return the answers at a share or pattern: by class, and best first within a class."""
        answers = [answer for answer in self.by_row.values() if answer.question.share == removed]
        order = list(CLASSES)
        return sorted(answers, key=lambda one: (order.index(one.kind), _mean(one.loss)))

    @cached_property
    def groups(self) -> list[tuple[Question, list[Row]]]:
        """All rows by question: first those that represent their method, best first."""
        found: dict[Question, list[Row]] = defaultdict(list)
        for row in self.board.rows:
            found[question_of(row)].append(row)
        places = {key: place for place, key in enumerate(self.by_row)}
        last = len(places)
        for rows in found.values():
            rows.sort(key=lambda row: (places.get(row.first.key, last), self._ratio(row)))
        return sorted(found.items(), key=lambda group: group[0].order)

    def _answers(self, rows: list[Row]) -> list[Answer]:
        losses = {row.first.key: one for row in rows if (one := loss(row, self.board))}
        places = ranks(losses)
        answers = [
            Answer(
                row,
                ratio.mean if (ratio := ratio_to_dense(row, self.board)) else None,
                losses.get(row.first.key),
                places.get(row.first.key),
                len(losses),
                budget(row, self.atlas),
                "" if row.first.key in losses else unranked(row, self.board),
            )
            for row in rows
        ]
        return sorted(answers, key=lambda one: (_mean(one.loss), self._ratio(one.row)))

    def _ratio(self, row: Row) -> float:
        ratio = ratio_to_dense(row, self.board)
        return ratio.mean if ratio and not math.isnan(ratio.mean) else math.inf

    def distance(self, row: Row) -> tuple[int, int, float, float]:
        """Return how far a row is from the defaults of its method, to sort by."""
        settings = row.first
        switches = sum(
            settings.configuration[name] == 0 or not _is_number(row.method, name, self.atlas)
            for name in settings.changed
        )
        spent = math.prod(part for _, part in _parts(row, self.atlas))
        return switches, len(settings.changed), -spent, self._ratio(row)


def first_ranking(atlas: Atlas) -> Ranking | None:
    """Return the answers of the first board, which stands for all on other pages."""
    return Ranking(atlas.boards[0], atlas) if atlas.boards else None


def ranking_text(board: Board) -> str:
    """Return the texts that rank a board, such as `Wikipedia`."""
    return " and ".join(subject(name) for name in ranking_metrics(board))


def about_model(board: Board) -> str:
    """Describe the model of a board in one line, with a caution."""
    size = f"{board.dense.footprint.parameters / 1e6:,.0f}M parameters"
    origin, meaning = ABOUT.get(board.model, ("", "Larger models may lose less."))
    return f"The model is {board.model} ({size}{origin}). {meaning}"


def share_label(removed: str) -> str:
    """Format a share or pattern: `50 %`, `2:4`."""
    return removed if ":" in removed else f"{removed} %"


def share(record: Record) -> str:
    """Return the requested percentage or pattern: `50`, `2:4`."""
    return record.pattern or f"{round(100 * record.requested, 1):g}"


def question_of(row: Row) -> Question:
    """Return the question that a row answers."""
    return Question(share(row.first), row.first.structured, class_of(row))


def unranked(row: Row, board: Board) -> str:
    """Return why a row that represents its method has no rank."""
    if row.collapsed:
        return "collapsed"
    if outdated(row):
        return "measured by older code, not ranked"
    if falls_short(row):
        return f"achieved only {percent(row.achieved)}"
    if kinds := trained_on(row, board):
        return f"trained on {' and '.join(subject(f'ppl/{kind}') for kind in kinds)}"
    return f"not measured on {ranking_text(board)}"


def row_note(row: Row, ranking: Ranking) -> str:
    """Return the note of a row in the table of its board, which shows other reasons itself."""
    board = ranking.board
    shown = (trained_on(row, board) or outdated(row)) and not row.collapsed
    reason = unranked(row, board) if shown else ""
    represents = row.first.key in ranking.by_row
    return _note(row, reason, budget(row, ranking.atlas), tuned(row) if represents else "")


def _note(row: Row, *more: str) -> str:
    """Join the class of a row, unless it is the usual one, and other notes."""
    kind = class_of(row)
    return "; ".join(filter(None, ("" if kind == ONE_SHOT else kind, *more)))


def uses_magnitude_alone(board: Board, atlas: Atlas) -> bool:
    """Return whether a row of the board scores single weights by magnitude alone."""
    slugs = {row.method for row in board.rows if not row.first.structured} & set(atlas.papers)
    return any(
        words_of(atlas.papers[slug], "criterion") == ("magnitude",)
        and words_of(atlas.papers[slug], "calibration") == ("none",)
        for slug in slugs
    )


def tuned(row: Row) -> str:
    """Return a mark for a row with numbers that were chosen for its model; empty for the others.

    A smaller budget is no tuning, and 0 turns a part of the method off.
    """
    first = row.first
    chosen = [first.configuration[name] for name in first.changed if name not in BUDGET]
    numbers = [one for one in chosen if isinstance(one, int | float) and not isinstance(one, bool)]
    return f"tuned on {first.model.name}" if any(numbers) else ""


def budget(row: Row, atlas: Atlas) -> str:
    """Return the part of the paper's budget that a row used, such as `100 of 10,000 steps`."""
    return ", ".join(text for text, _ in _parts(row, atlas))


def _parts(row: Row, atlas: Atlas) -> list[tuple[str, float]]:
    """Return the fields of `BUDGET` below their default, as text and as a fraction."""
    found = []
    for name in BUDGET:
        used = row.first.configuration.get(name)
        default = as_number(_default(row.method, name, atlas))
        if isinstance(used, int) and default and used < default:
            found.append((f"{used:,} of {default:,.0f} {name}", used / default))
    return found


def _is_number(slug: str, name: str, atlas: Atlas) -> bool:
    return as_number(_default(slug, name, atlas)) is not None


def _default(slug: str, name: str, atlas: Atlas) -> str:
    method = atlas.methods.get(slug)
    parameters = method.source.parameters if method else ()
    return next((one.default for one in parameters if one.name == name), "")


def _mean(loss: Loss | None) -> float:
    return loss.mean if loss else math.inf


def as_number(text: str) -> float | None:
    """Read the default of a setting; None if it is not a number."""
    try:
        return float(text)
    except ValueError:
        return None
