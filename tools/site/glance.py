"""What a reader asks of a method first: what is lost at the usual shares, how long it takes."""

from __future__ import annotations

from dataclasses import dataclass

from implementations.harness.results.boards import Board, Row
from tools.site.atlas import Atlas, Method

SHARES = (("20 %", None, 0.2), ("50 %", None, 0.5), ("2:4", "2:4", 0.5))
"""Each by its name, its pattern and the share that goes."""


@dataclass(frozen=True)
class Glance:
    """The measurements that stand for a method, on one board."""

    board: Board
    rows: tuple[tuple[str, Row | None], ...]
    """By the name of the share; None where it was not measured."""

    @property
    def first(self) -> tuple[str, Row]:
        """The first share that was measured, for its time and its command."""
        return next((name, row) for name, row in self.rows if row)


def glance(method: Method, atlas: Atlas) -> Glance | None:
    """Return the first board on which one of the usual shares was measured; None without one."""
    for board in atlas.boards_of(method.slug):
        rows = tuple(
            (name, _row(board, pattern, share))
            for name, pattern, share in SHARES
            if not pattern or _knows(method, pattern)
        )
        if any(row for _, row in rows):
            return Glance(board, rows)
    return None


def _row(board: Board, pattern: str | None, share: float) -> Row | None:
    """Return the row nearest to the method's defaults, of several the first."""
    found = [
        row
        for row in board.rows
        if row.first.pattern == pattern and (pattern or abs(row.first.asked - share) < 5e-3)
    ]
    return min(found, key=lambda row: len(row.first.changed), default=None)


def _knows(method: Method, pattern: str) -> bool:
    return bool(method.support.get("patterns", {}).get(pattern) == "supported")
