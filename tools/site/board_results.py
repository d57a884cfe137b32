"""Results of a leaderboard that several pages show."""

from __future__ import annotations

from implementations.harness.results.boards import Board, Row
from tools.site.atlas import Atlas
from tools.site.paper_facts import words_of


def first_board(atlas: Atlas) -> Board | None:
    """Return the first leaderboard, which stands for all on other pages; None without results."""
    return next(iter(atlas.boards), None)


def uses_magnitude_alone(board: Board, atlas: Atlas) -> bool:
    """Return whether a row of the board prunes single weights by magnitude alone."""
    return any(row_uses_magnitude_alone(row, atlas) for row in board.rows)


def row_uses_magnitude_alone(row: Row, atlas: Atlas) -> bool:
    """Return whether a row scores single weights by magnitude alone."""
    paper = atlas.papers.get(row.first.method)
    return (
        paper is not None
        and not row.first.structured
        and words_of(paper, "criterion") == ("magnitude",)
        and words_of(paper, "calibration") == ("none",)
    )
