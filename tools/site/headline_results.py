"""Headline results of a method: loss and rank at the usual sparsities, and the time to prune."""

from __future__ import annotations

from dataclasses import dataclass

from tools.site.answers import Answer, Ranking
from tools.site.atlas import Atlas, Method

SHARES = ("20", "50", "2:4")
"""The usual percentages and patterns."""


@dataclass(frozen=True)
class HeadlineResults:
    """Results of a method at the usual settings, from one board."""

    ranking: Ranking
    answers: tuple[tuple[str, Answer | None], ...]
    """By share or pattern; None if it was not measured."""

    @property
    def first(self) -> tuple[str, Answer]:
        """The first measured setting, whose time and command are shown."""
        return next((share, answer) for share, answer in self.answers if answer)


def headline_results(method: Method, atlas: Atlas) -> HeadlineResults | None:
    """Return the results from the first board with one of the usual settings; None without any."""
    for board in atlas.boards:
        ranking = Ranking(board, atlas)
        answers = tuple(
            (share, ranking.answer(method.slug, share))
            for share in SHARES
            if ":" not in share or _supports(method, share)
        )
        if any(answer for _, answer in answers):
            return HeadlineResults(ranking, answers)
    return None


def _supports(method: Method, pattern: str) -> bool:
    return bool(method.support.get("patterns", {}).get(pattern) == "supported")
