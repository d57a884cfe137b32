"""The chart of a board: quality against what was removed, drawn to SVG at build."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import vl_convert

from implementations.harness.record import COLLAPSED
from tools.site.results import FAMILIES, Board, Row

SHAPES = ("circle", "diamond", "square", "triangle-up")
# The same marks as paths in a box of 12 by 12 around the origin, for the key beside the chart.
MARKS = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z",
    "M0 -5L5 0L0 5L-5 0Z",
    "M-4 -4H4V4H-4Z",
    "M0 -5L5 4H-5Z",
)

# Vega wants colours; the page wants variables that follow light and dark. Each of these stands in
# the drawing for one variable of the style sheet and occurs nowhere else.
STAND_INS = {
    "#00a001": "var(--atlas-family-1)",
    "#00a002": "var(--atlas-family-2)",
    "#00a003": "var(--atlas-family-3)",
    "#00a004": "var(--atlas-family-4)",
    "#00b001": "var(--atlas-ink)",
    "#00b002": "var(--atlas-muted)",
    "#00b003": "var(--atlas-rule)",
    "#00b004": "var(--atlas-paper)",
}
FAMILY_COLOURS, (INK, MUTED, RULE, PAPER) = list(STAND_INS)[:4], list(STAND_INS)[4:]
# The converter completes a relative address with one of its own, so it gets a complete one.
NOWHERE = "https://atlas.invalid/"


@dataclass(frozen=True)
class Size:
    """Size of a drawing in its own pixels; it scales to the page's width."""

    width: int
    height: int
    font: int


WIDE = Size(width=860, height=400, font=13)
NARROW = Size(width=260, height=380, font=11)


def draw(board: Board, names: Mapping[str, str], size: Size = WIDE) -> str:
    """Draw perplexity, as a multiple of the dense one, against the share of weights removed.

    Returns an SVG element to be set into a page; every point links to its method's page. Runs
    past the mark of collapse lie on it, hollow. An empty string where nothing was measured.
    """
    points = [point for row in board.rows if (point := _point(row, board, names))]
    if not points:
        return ""
    spec = _chart(points, size).to_json()
    svg: str = vl_convert.vegalite_to_svg(spec)
    for stand_in, real in (STAND_INS | {NOWHERE: "", "xlink:href": "href"}).items():
        svg = svg.replace(stand_in, real)
    # The description that a screen reader says, shown under the mouse as well.
    return re.sub(r'(<path aria-label="([^"]*)"[^>]*?)/>', r"\1><title>\2</title></path>", svg)


def _point(row: Row, board: Board, names: Mapping[str, str]) -> dict[str, Any] | None:
    ratio = row.ratio(board.metrics[0])
    if ratio is None or math.isnan(ratio.mean):
        return None
    name = names.get(row.first.method, row.first.method)
    collapsed = row.collapsed or ratio.mean > COLLAPSED
    shown = "collapsed" if collapsed else f"{ratio.mean:.2f} times dense"
    return {
        "removed": row.achieved,
        "ratio": min(ratio.mean, COLLAPSED),
        "family": row.family,
        "series": f"{row.first.method} {row.family} {' '.join(row.first.changed)}",
        "name": name,
        "label": f"{name} {row.first.pattern}" if row.first.pattern else name,
        "state": "collapsed" if collapsed else "kept",
        "title": f"{name}, {row.first.settings}: {shown}",
        "href": f"{NOWHERE}papers/{row.first.method}.html",
    }


def _chart(points: Sequence[dict[str, Any]], size: Size) -> alt.LayerChart:
    top = max(2.0, *(point["ratio"] for point in points))
    x = alt.X(
        "removed:Q",
        title="share of the blocks' weights removed",
        scale=alt.Scale(domain=[0, _widest(points)], nice=False),
        axis=alt.Axis(labelExpr="round(100 * datum.value) + ' %'", grid=False, tickCount=6),
    )
    y = alt.Y(
        "ratio:Q",
        title="perplexity, times dense",
        scale=alt.Scale(type="log", domain=[1, top * 1.08], nice=False),
        axis=alt.Axis(values=[1, 1.5, 2, 3, 5, 10, 20, 50], format="~g", gridColor=RULE),
    )
    colour = alt.Color(
        "family:N",
        scale=alt.Scale(domain=list(FAMILIES), range=FAMILY_COLOURS),
        legend=None,
    )
    base = alt.Chart(alt.Data(values=list(points)))
    # Patterns of one method share their sparsity: a line between them would say nothing.
    lines = (
        base.transform_filter(f"datum.family != '{FAMILIES[1]}'")
        .mark_line(strokeWidth=1.2, opacity=0.45)
        .encode(x=x, y=y, color=colour, detail="series:N")
    )
    marks = base.mark_point(size=70, strokeWidth=1.6, opacity=1, filled=False).encode(
        x=x,
        y=y,
        color=colour,
        shape=alt.Shape(
            "family:N", scale=alt.Scale(domain=list(FAMILIES), range=list(SHAPES)), legend=None
        ),
        fill=alt.condition(alt.datum.state == "kept", colour, alt.value(PAPER)),
        href="href:N",
        description="title:N",
    )
    labels = (
        alt.Chart(alt.Data(values=_labels(points, top, size)))
        .mark_text(align="left", dx=8, fontSize=size.font)
        .encode(x=x, y=y, text="label:N", color=colour)
    )
    drawing: alt.LayerChart = (
        alt.layer(lines, labels, marks)
        .properties(width=size.width, height=size.height, background="transparent")
        .configure(font="sans-serif")
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=MUTED,
            titleColor=MUTED,
            domainColor=MUTED,
            tickColor=MUTED,
            labelFontSize=size.font,
            titleFontSize=size.font,
            titleFontWeight="normal",
            labelPadding=4,
            titlePadding=8,
        )
    )
    return drawing


def _labels(points: Sequence[dict[str, Any]], top: float, size: Size) -> list[dict[str, Any]]:
    """Name the last point of each line and every pattern, moved up where two names would touch."""
    named: dict[str, dict[str, Any]] = {}
    for point in sorted(points, key=lambda point: point["removed"]):
        named[point["series"] + point["label"]] = point
    line = (top * 1.08) ** ((size.font + 2) / size.height)  # a line of text on the log axis
    letter = 0.6 * size.font / size.width * _widest(points)
    placed: list[dict[str, Any]] = []
    for point in sorted(named.values(), key=lambda point: point["ratio"]):
        end = point["removed"] + letter * (len(point["label"]) + 2)
        height = point["ratio"]
        for other in placed:
            apart = end < other["removed"] or other["end"] < point["removed"]
            if not apart and height < other["ratio"] * line:
                height = other["ratio"] * line
        placed.append(point | {"ratio": height, "end": end})
    return placed


def _widest(points: Sequence[dict[str, Any]]) -> float:
    """The end of the axis of shares: room for a name beside the farthest point."""
    return float(min(1.0, 1.25 * max(point["removed"] for point in points)))
