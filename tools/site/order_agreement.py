"""Whether perplexity and divergence put methods in the same order.

Two methods are compared if both represent themselves in one group of a board: the same share
removed, in the same way, in the same class. By both quantities, one is better only if it is clearly
below the other (see `Loss.clearly_below`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from implementations.harness.results.metric import DIVERGENCE
from implementations.harness.results.ranking import SEEDS, Loss, beside_dense
from tools.site.answers import Answer, Question, Ranking, ranking_text

SAME = "in the same order"
OPPOSITE = "in opposite order"
BY_DIVERGENCE = "ordered by KL only"
BY_PERPLEXITY = "ordered by perplexity only"
EQUAL = "equal by both"
OUTCOMES = (SAME, OPPOSITE, BY_DIVERGENCE, BY_PERPLEXITY, EQUAL)
"""The possible results for a pair."""


@dataclass(frozen=True)
class Result:
    """A ranked method with its loss by perplexity and its divergence."""

    answer: Answer
    perplexity: Loss
    divergence: Loss


@dataclass(frozen=True)
class Pair:
    """Two methods of one group, the one with the lower mean perplexity first."""

    question: Question
    first: Result
    second: Result

    @property
    def outcome(self) -> str:
        """One of `OUTCOMES`."""
        clear = self.first.perplexity.clearly_below(self.second.perplexity)
        lower = self.first.divergence.clearly_below(self.second.divergence)
        higher = self.second.divergence.clearly_below(self.first.divergence)
        if not clear:
            return BY_DIVERGENCE if lower or higher else EQUAL
        if lower:
            return SAME
        return OPPOSITE if higher else BY_PERPLEXITY

    @property
    def clearness(self) -> float:
        """The smaller one of the relative differences by perplexity and by divergence."""
        return min(
            1 - min(one, other) / max(one, other)
            for one, other in (
                (self.first.perplexity.mean, self.second.perplexity.mean),
                (self.first.divergence.mean, self.second.divergence.mean),
            )
        )


@dataclass(frozen=True)
class OrderAgreement:
    """All pairs of a board that have both quantities."""

    board: str
    """Title of the board."""
    texts: str
    """The texts that rank."""
    pairs: tuple[Pair, ...]

    @property
    def by_question(self) -> dict[Question, Counter[str]]:
        """The number of pairs by question and outcome."""
        found: dict[Question, Counter[str]] = {}
        for pair in self.pairs:
            found.setdefault(pair.question, Counter())[pair.outcome] += 1
        return found

    @property
    def counts(self) -> list[int]:
        """The number of pairs for each of `OUTCOMES`."""
        found = Counter(pair.outcome for pair in self.pairs)
        return [found[outcome] for outcome in OUTCOMES]

    @property
    def opposite(self) -> list[Pair]:
        """The pairs that perplexity and divergence order differently, the clearest first."""
        found = [pair for pair in self.pairs if pair.outcome == OPPOSITE]
        return sorted(found, key=lambda pair: -pair.clearness)


def order_agreement(ranking: Ranking) -> OrderAgreement:
    """Compare the two orders of every group of a board, smallest share first."""
    board = ranking.board
    return OrderAgreement(board.title, ranking_text(board), tuple(_pairs(ranking)))


def _pairs(ranking: Ranking) -> Iterator[Pair]:
    for question, answers in sorted(ranking.by_question.items(), key=lambda item: item[0].order):
        results = [result for answer in answers if (result := _result(answer, ranking))]
        for first, second in combinations(results, 2):  # answers are sorted by their mean loss
            yield Pair(question, first, second)


def _result(answer: Answer, ranking: Ranking) -> Result | None:
    """Return None for a method without a rank or without a divergence."""
    spread = beside_dense(answer.row, ranking.board, DIVERGENCE)
    if answer.loss is None or spread is None:
        return None
    deviation = spread.deviation if len(answer.row.records) >= SEEDS else None
    return Result(answer, answer.loss, Loss(spread.mean, deviation))
