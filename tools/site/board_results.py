"""Results of a leaderboard that several pages show."""

from __future__ import annotations

from collections.abc import Mapping

from implementations.harness.results.boards import Board, Row
from tools.site.atlas import Atlas
from tools.site.paper_facts import words_of


def first_board(atlas: Atlas) -> Board | None:
    """Return the first leaderboard, which stands for all on other pages; None without results."""
    return next(iter(atlas.boards), None)


def default_rows(board: Board) -> Mapping[tuple[str, str], Row]:
    """Return the rows at the method's defaults, by method and setting, such as `50 %`."""
    return {(row.first.method, row.first.settings): row for row in board.rows if _default(row)}


def default_settings(board: Board) -> list[str]:
    """List the settings measured with a method's defaults: sparsities in order, then patterns."""
    by_label = {row.first.settings: row.first for row in board.rows if _default(row)}
    order = sorted(by_label.items(), key=lambda item: (item[1].pattern or "", item[1].asked))
    return [label for label, _ in order]


def ratio_to_dense(row: Row, board: Board) -> float | None:
    """Return perplexity over dense, the mean of the seeds; None if a run lacks it."""
    ratio = row.ratio(board.metrics[0])
    return ratio.mean if ratio else None


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


def _default(row: Row) -> bool:
    """Return whether only the sparsity or the pattern differs from the method's defaults."""
    return not row.first.changed
