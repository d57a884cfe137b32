"""The leaderboard: one page per protocol, model and device.

Each page has the first rows of its board. Its script loads all rows and the charts when the reader
approaches a control, and the facts about methods for a comparison.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from implementations.harness.results.boards import FAMILIES, Board, Row
from implementations.harness.results.metric import TIE, tie
from implementations.harness.results.ranking import CLASSES, SEEDS, class_of, ratio_to_dense
from implementations.harness.results.record import DENSE, Record
from tools.catalog.schema.vocabulary import vocabulary
from tools.site import vega
from tools.site.addresses import board_addresses, html_path, markdown_path, record_address
from tools.site.answers import Question, Ranking, row_note, share
from tools.site.atlas import Atlas
from tools.site.board_columns import (
    CHIPS,
    FIDELITIES,
    Cell,
    columns,
    fidelity,
    group_note,
    removed,
    shares,
)
from tools.site.chart import AXES, BoardCharts, board_charts, point_of, points, specification
from tools.site.comparison import facts
from tools.site.paper_facts import words_of
from tools.site.render import Front, printable, render

FRONT = Front(
    "leaderboard.md",
    "Leaderboard",
    "Pruning methods measured under the same protocols, relative to the dense model.",
    styles=("css/controls.css", "css/leaderboard.css", "css/landscape.css"),
    scripts=("js/leaderboard.js",),
    sources=("implementations",),
)
ROWS = 100
"""Number of rows on the page; the script also draws this many at first."""
PICTURES = 6
"""Number of boards whose chart is drawn at build time; the others are drawn in the browser."""
LARGE = 2 * ROWS
"""Charts of boards with more rows are also drawn at build time, because loading rows takes long."""
OVERVIEW = (("20", True), ("50", False))
"""Shares, and whether structured, of the first view: one row per method, as most papers compare."""


@dataclass(frozen=True)
class BoardPage:
    """A board with its name in addresses and the path of its page."""

    id: str
    path: str
    board: Board
    dense: Record | None
    """The record of its dense row, if there is one."""
    ranking: Ranking

    @property
    def data(self) -> str:
        """The address of its rows for the script."""
        return f"leaderboard/{self.id}.json"


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the page and the rows of each board, and the shared data of the script."""
    boards = list(_board_pages(atlas))
    if not boards:
        yield FRONT.path, render("leaderboard", FRONT, atlas, boards=boards)
        return
    for place, one in enumerate(boards):
        yield (
            markdown_path(one.path),
            _page(one, boards, place < PICTURES or len(one.board.rows) > LARGE, atlas),
        )
        text = json.dumps(packed(one.ranking), ensure_ascii=False, separators=(",", ":"))
        yield one.data, text
    methods = json.dumps(facts(atlas), ensure_ascii=False, separators=(",", ":"))
    yield "leaderboard/methods.json", methods
    charts = {axis.name: specification(axis) for axis in AXES}
    yield "leaderboard/charts.json", json.dumps(charts, separators=(",", ":"))
    yield "assets/js/vega.js", vega.runtime()


def _page(one: BoardPage, boards: list[BoardPage], with_chart: bool, atlas: Atlas) -> str:
    front = FRONT
    if one.path != html_path(FRONT.path):
        about = f"Pruning methods measured under {one.board.title}."
        front = replace(
            FRONT,
            path=markdown_path(one.path),
            title=one.board.title,
            description=about,
            searched=False,
        )
    board = one.board
    up = "../" * one.path.count("/")
    groups = _overview(one.ranking)
    methods = {row.method for _, _, rows in groups for row in rows}
    drawn = replace(board, rows=tuple(row for row in board.rows if row.method in methods))
    return render(
        "leaderboard",
        front,
        atlas,
        up=up,
        protocols=list(dict.fromkeys(other.board.protocol for other in boards)),
        shown=one,
        boards=boards,
        chart=board_charts(drawn, atlas.names, up) if with_chart else BoardCharts(board, "", ""),
        drawable=bool(points(board, atlas.names)),
        groups=groups,
        ranking=one.ranking,
        shares=list(shares(board)),
        methods=_methods(board, atlas),
        calibrations=_calibrations(board, atlas),
        fidelities=_fidelities(board, atlas),
        classes=_classes(board),
        against=AXES,
    )


def packed(ranking: Ranking) -> dict[str, Any]:
    """Return the data of a board for the script: rows of the table and points of the charts."""
    board, atlas = ranking.board, ranking.atlas
    visible = columns(board, atlas)
    overview = {row.first.key for _, _, rows in _overview(ranking) for row in rows}
    chart_points: list[dict[str, Any]] = []
    rows = []
    for group, question, row in numbered_rows(ranking):
        first = row.first
        answer = ranking.by_row.get(first.key)
        if point := point_of(row, board, atlas.names):
            chart_points.append(point | {"id": len(chart_points)})
        rows.append(
            {
                "family": FAMILIES.index(row.family),
                "group": group,
                "share": share(first),
                "class": question.kind,
                "method": first.method,
                "name": printable(atlas.names.get(first.method, first.method)),
                "needs": needs(first.method, atlas),
                "fidelity": fidelity(first.method, atlas),
                "note": row_note(row, ranking),
                "overview": first.key in overview,
                "represents": answer is not None,
                "rank": str(answer.rank) if answer and answer.rank else "",
                "removed": _values(removed(row)),
                "cells": [_values(column.cell(row)) for column in visible],
                "records": [[record.seed, record_address(record)] for record in row.records],
                "command": printable(first.command),
                "collapsed": row.collapsed,
                "tie": tie(ratio.mean) if (ratio := ratio_to_dense(row, board)) else TIE,
                "point": len(chart_points) - 1 if point else None,
            }
        )
    return {
        "chips": CHIPS,
        "equal": {"tie": TIE, "seeds": SEEDS},
        "groups": [[question.label, group_note(group)] for question, group in ranking.groups],
        "rows": rows,
        "points": chart_points,
    }


def needs(method: str, atlas: Atlas) -> str:
    """Return the term for the calibration data of a method; empty if the entry does not say."""
    paper = atlas.papers.get(method)
    return next(iter(words_of(paper, "calibration")), "") if paper else ""


def _methods(board: Board, atlas: Atlas) -> list[tuple[str, str, int]]:
    counts = Counter(row.method for row in board.rows)
    named = [(slug, atlas.names.get(slug, slug), count) for slug, count in counts.items()]
    return sorted(named, key=lambda one: one[1].casefold())


def _calibrations(board: Board, atlas: Atlas) -> list[tuple[str, str, int]]:
    """List the terms of the filter with definition and number of rows, the cheapest first."""
    counts = Counter(needs(row.method, atlas) for row in board.rows)
    terms = vocabulary()["calibration"].terms
    return [(word, term.definition, counts[word]) for word, term in terms.items() if counts[word]]


def _values(cell: Cell) -> list[Any]:
    """Write a cell as a list without empty values at its end."""
    values = [
        _finite(cell.value),
        printable(cell.text),
        cell.note,
        _finite(cell.deviation),
        cell.title,
    ]
    while values and values[-1] in (None, ""):
        values.pop()
    return values


def _finite(value: float | None) -> float | str | None:
    """Write infinity and NaN as text, which JSON lacks."""
    return value if value is None or math.isfinite(value) else str(value)


def _fidelities(board: Board, atlas: Atlas) -> list[tuple[str, int]]:
    counts = Counter(fidelity(row.method, atlas) for row in board.rows)
    return [(word, counts[word]) for word in FIDELITIES if counts[word]]


def _classes(board: Board) -> list[tuple[str, str, int]]:
    counts = Counter(class_of(row) for row in board.rows)
    return [(name, about, counts[name]) for name, about in CLASSES.items() if counts[name]]


def _overview(ranking: Ranking) -> list[tuple[str, str, list[Row]]]:
    """Return the groups of the first view with heading, note and rows.

    One row per method at the shares of `OVERVIEW`. A board without them shows its first rows.
    """
    found = [
        (question, [row for row in rows if row.first.key in ranking.by_row])
        for question, rows in ranking.groups
        if (question.share, question.structured) in OVERVIEW
    ]
    if not found:
        shown = {row.first.key for _, _, row in islice(numbered_rows(ranking), ROWS)}
        found = [(q, [r for r in rows if r.first.key in shown]) for q, rows in ranking.groups]
    return [(question.label, group_note(rows), rows) for question, rows in found if rows]


def numbered_rows(ranking: Ranking) -> Iterator[tuple[int, Question, Row]]:
    """Yield all rows in the order of the table, with the number of their group and its question."""
    for place, (question, rows) in enumerate(ranking.groups):
        for row in rows:
            yield place, question, row


def _board_pages(atlas: Atlas) -> Iterator[BoardPage]:
    dense = {record.run: record for record in atlas.records if record.method == DENSE}
    boards = atlas.boards
    for board, (name, path) in zip(boards, board_addresses(boards), strict=True):
        yield BoardPage(name, path, board, dense.get(board.dense.run), Ranking(board, atlas))
