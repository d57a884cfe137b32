"""Headline results of a method: perplexity at the usual sparsities, and the time to prune."""

from __future__ import annotations

from dataclasses import dataclass

from implementations.harness.results.boards import Board, Row
from tools.site.atlas import Atlas, Method

SETTINGS = (("20 %", None, 0.2), ("50 %", None, 0.5), ("2:4", "2:4", 0.5))
"""Name, pattern and sparsity of the usual settings."""


@dataclass(frozen=True)
class HeadlineResults:
    """Results of a method at the usual settings, from one board."""

    board: Board
    rows: tuple[tuple[str, Row | None], ...]
    """By the name of the setting; None if it was not measured."""

    @property
    def first(self) -> tuple[str, Row]:
        """The first measured setting, whose time and command are shown."""
        return next((name, row) for name, row in self.rows if row)


def headline_results(method: Method, atlas: Atlas) -> HeadlineResults | None:
    """Return the results from the first board with one of the usual settings; None without any."""
    for board in atlas.boards_of(method.slug):
        rows = tuple(
            (name, _row(board, pattern, sparsity))
            for name, pattern, sparsity in SETTINGS
            if not pattern or _supports(method, pattern)
        )
        if any(row for _, row in rows):
            return HeadlineResults(board, rows)
    return None


def _row(board: Board, pattern: str | None, sparsity: float) -> Row | None:
    """Return the row closest to the method's defaults, the first of several."""
    rows = [
        row
        for row in board.rows
        if row.first.pattern == pattern and (pattern or abs(row.first.asked - sparsity) < 5e-3)
    ]
    return min(rows, key=lambda row: len(row.first.changed), default=None)


def _supports(method: Method, pattern: str) -> bool:
    return bool(method.support.get("patterns", {}).get(pattern) == "supported")
