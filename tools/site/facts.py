"""What several pages say of a paper: its words, whether there is code, what was measured here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from implementations.harness.results.boards import Board, Row
from tools.catalog.exports.awesome_list import date
from tools.catalog.schema.paper import Code, Paper
from tools.site.atlas import Atlas

FACETS = (
    ("granularity", "Granularity"),
    ("prunes", "Removes"),
    ("criterion", "Criterion"),
    ("calibration", "Calibration"),
    ("recovery", "Recovery"),
    ("allocation", "Allocation"),
    ("when", "When pruned"),
    ("combines", "Combined with"),
    ("architecture", "Architecture"),
    ("topic", "Topic"),
    ("read", "Depth of reading"),
)
"""The words of a paper, and what they are called."""
CODE = {"official": "by the authors", "third party": "by others", "none known": "no code is known"}
"""The states of a paper's code, each with its meaning."""


def words_of(paper: Paper, field: str) -> tuple[str, ...]:
    """Return a paper's words of one field of the vocabulary; none where it says nothing of it."""
    said = paper.sources.read if field == "read" else getattr(paper.taxonomy, field, None)
    return (said,) if isinstance(said, str) else tuple(said or ())


def first_public(paper: Paper) -> tuple[int, float]:
    """Return year and month, from 0, in which a paper was first public, as far as is known.

    Of a year alone the middle counts; what has no date comes before all.
    """
    parts = [int(part) for part in re.findall(r"\d+", date(paper))]
    if not parts:
        return 0, 0.0
    month = parts[1] - 1 if len(parts) > 1 else 5.5
    day = (parts[2] - 1) / 31 if len(parts) > 2 else 0.0
    return parts[0], month + day


def newest_first(slugs: Iterable[str], papers: Mapping[str, Paper]) -> list[str]:
    """Sort papers by the date of their first public version, the latest first."""
    return sorted(slugs, key=lambda slug: first_public(papers[slug]), reverse=True)


def repository(paper: Paper) -> Code | None:
    """Return the first code that is still there, the authors' own before any other."""
    there = [code for code in paper.code or () if not code.withdrawn]
    return next((code for code in there if code.official), there[0] if there else None)


def code(paper: Paper) -> str:
    """Name the state of a paper's code, in a word of `CODE`."""
    found = repository(paper)
    if not found:
        return "none known"
    return "official" if found.official else "third party"


def by_size(board: Board, atlas: Atlas) -> bool:
    """Whether a row of a board chose single weights by size alone, where ties decide."""
    return any(tied(row, atlas) for row in board.rows)


def tied(row: Row, atlas: Atlas) -> bool:
    """Whether a row chose single weights by size alone."""
    paper = atlas.papers.get(row.first.method)
    return (
        paper is not None
        and not row.first.structured
        and words_of(paper, "criterion") == ("magnitude",)
        and words_of(paper, "calibration") == ("none",)
    )


def first_board(atlas: Atlas) -> Board | None:
    """Return the board whose numbers stand for a method, where anything was measured."""
    return next(iter(atlas.boards), None)


def settings(board: Board) -> Mapping[tuple[str, str], Row]:
    """Rows of a board that keep the method's defaults, by method and setting, such as `50 %`."""
    return {(row.first.method, row.first.settings): row for row in board.rows if _plain(row)}


def shares(board: Board) -> list[str]:
    """List the settings measured on a board: shares in order, then patterns."""
    found = {row.first.settings: row.first for row in board.rows if _plain(row)}
    order = sorted(found.items(), key=lambda item: (item[1].pattern or "", item[1].asked))
    return [label for label, _ in order]


def loss(row: Row, board: Board) -> float | None:
    """Return perplexity over dense, the mean of the seeds; None where a run lacks it."""
    ratio = row.ratio(board.metrics[0])
    return ratio.mean if ratio else None


def _plain(row: Row) -> bool:
    """Whether nothing but the share or the pattern differs from the method's defaults."""
    return not row.first.changed
