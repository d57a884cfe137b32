"""Charts of a board in Vega: SVG drawn at build time, interactive with JavaScript.

Both use one specification: `draw` renders it with a board's points, and `specification` returns it
for the page, whose script adds the points of the chosen board.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import vl_convert

from implementations.harness.results.boards import FAMILIES, QUANTISED, Board, Row
from implementations.harness.results.metric import metric
from implementations.harness.results.ranking import ratio_to_dense
from implementations.harness.results.reading import one_line
from implementations.harness.results.record import NO_SPEED_UP
from tools.site.addresses import record_address
from tools.site.formatting import number, seconds

SHAPES = ("circle", "diamond", "square", "triangle-up", "cross", "triangle-down", "triangle-right")
# The same marks as paths in a box of 12 by 12 around the origin, for the key beside the chart.
MARKS = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z",
    "M0 -5L5 0L0 5L-5 0Z",
    "M-4 -4H4V4H-4Z",
    "M0 -5L5 4H-5Z",
    "M-5 -2H-2V-5H2V-2H5V2H2V5H-2V2H-5Z",
    "M0 5L5 -4H-5Z",
    "M5 0L-4 -5V5Z",
)

# Colours are variables of the style sheet, so the SVG follows the light or dark scheme.
FAMILY_COLOURS = [f"var(--atlas-family-{i + 1})" for i in range(len(FAMILIES))]
INK, MUTED, RULE, PAPER = (f"var(--atlas-{name})" for name in ("ink", "muted", "rule", "paper"))
# The converter would resolve relative addresses itself, so links have this base while it runs.
PLACEHOLDER = "https://atlas.invalid/"
# N:M patterns of one method have the same sparsity, so a line between them has no meaning.
UNJOINED = FAMILIES[1]
MAX_POINTS = 100  # points of a picture
ROOM = 92  # pixels right of the farthest point, for its name


@dataclass(frozen=True)
class Axis:
    """The horizontal axis of a chart; the vertical axis is quality."""

    name: str
    label: str
    title: str
    scale: Mapping[str, Any]
    domain: str
    """The ends of the axis as a Vega expression of `span`, the smallest and largest value."""
    format: str
    more_is_better: bool
    ticks: tuple[float, ...] = ()
    joined: bool = False
    """Whether a line joins the settings of a method."""


AXES = (
    Axis(
        name="size",
        label="Size",
        title="share of the decoder's weights removed",
        scale={"type": "linear"},
        # The axis ends at a multiple of 10 %, so that the largest sparsity has a tick.
        domain="[0, max(1, ceil(10 * span[1] - 0.05)) / 10]",
        format="round(100 * datum.value) + ' %'",
        more_is_better=True,
        ticks=tuple(share / 10 for share in range(11)),
        joined=True,
    ),
    Axis(
        name="speed",
        label="Speed",
        title="speed of generation, times dense",
        scale={"type": "linear"},
        domain="[min(1, span[0]), span[1]]",
        format="format(datum.value, '.2~f') + '×'",
        more_is_better=True,
        joined=True,
    ),
    Axis(
        name="time",
        label="Pruning time",
        title="seconds to prune, smaller is better",
        scale={"type": "log"},
        domain="[span[0] / 1.3, span[1]]",
        format="format(datum.value, ',~r') + ' s'",
        more_is_better=False,
        ticks=tuple(digit * 10**power for power in range(-1, 6) for digit in (1, 2, 5)),
    ),
)


@dataclass(frozen=True)
class Size:
    """Size of a drawing in pixels; the page scales it to its width."""

    width: int
    height: int
    font: int


WIDE = Size(width=960, height=440, font=13)
NARROW = Size(width=330, height=430, font=11)


@dataclass(frozen=True)
class BoardCharts:
    """A board with its chart as SVG for wide and for narrow pages."""

    board: Board
    wide: str
    narrow: str


def board_charts(board: Board, names: Mapping[str, str], up: str = "") -> BoardCharts:
    """Draw a board for wide and narrow pages; `up` is the relative path to the root of the site."""
    return BoardCharts(board, draw(board, names, WIDE, up), draw(board, names, NARROW, up))


def draw(board: Board, names: Mapping[str, str], size: Size = WIDE, up: str = "") -> str:
    """Draw perplexity relative to dense against sparsity.

    Returns an SVG element whose points link to their records, or an empty string if nothing was
    measured. Collapsed runs are hollow points at the limit of collapse. Only the `MAX_POINTS` rows
    with the lowest ratio are drawn.
    """
    best = sorted(points(board, names), key=lambda point: float(point["ratio"]))[:MAX_POINTS]
    measured = [point | {"href": PLACEHOLDER + point["href"]} for point in best]
    if not measured:
        return ""
    spec = specification(AXES[0], size, live=False)
    spec["data"][0]["values"] = measured
    spec["data"].append({"name": "labels", "values": _labels(measured, size)})
    svg: str = vl_convert.vega_to_svg(json.dumps(spec))
    for old, new in {PLACEHOLDER: up, "xlink:href": "href"}.items():
        svg = svg.replace(old, new)
    # Show the description for screen readers also as a tooltip.
    return re.sub(r'(<path aria-label="([^"]*)"[^>]*?)/>', r"\1><title>\2</title></path>", svg)


def points(board: Board, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the points of a board's charts, without rows whose quality was not measured."""
    return [point for row in board.rows if (point := point_of(row, board, names))]


def point_of(row: Row, board: Board, names: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the point of a row; None if its quality was not measured."""
    ratio = ratio_to_dense(row, board)
    if ratio is None or not ratio.mean > 0:  # also excludes NaN, the mean of a run with infinities
        return None
    first = row.first
    name = one_line(names.get(first.method, first.method))
    collapse = metric(board.metrics[0]).collapse
    rate, prune = row.rate("decode"), row.seconds("prune")
    return {
        "id": first.key,
        "size": round(row.achieved, 3),
        "speed": rate.ratio if rate else None,
        "time": prune.mean if prune and prune.mean > 0 else None,
        "ratio": collapse if row.collapsed else ratio.mean,
        "family": row.family,
        "series": f"{first.method} {row.family} {' '.join(first.changed)}",
        "name": _short(" ".join(filter(None, [name, first.pattern, *first.changes]))),
        "label": "",
        "state": "collapsed" if row.collapsed else "kept",
        "title": f"{_short(name)}, {first.settings}: "
        + ("collapsed" if row.collapsed else f"{number(ratio.mean)} times the dense perplexity"),
        "more": ", ".join(_more(row)),
        "href": record_address(first),
    }


def _more(row: Row) -> Iterator[str]:
    """Yield the other measurements of a row as text."""
    rate, prune = row.rate("decode"), row.seconds("prune")
    yield (
        f"generates {number(rate.ratio)} times as fast"
        if rate
        else ("speed not measured" if row.first.structured else NO_SPEED_UP)
    )
    if prune:
        yield f"pruned in {seconds(prune.mean)}"


def _short(name: str, most: int = 24) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def labelled_points(every: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the points with labels: the last point of each line, and every N:M pattern.

    If several points have the same position, the first is labelled with the names of all.
    """
    last = {point["series"] + point["name"]: point for point in sorted(every, key=_removed)}
    places: dict[tuple[float, str], list[dict[str, Any]]] = defaultdict(list)
    for point in last.values():
        places[point["size"], f"{point['ratio']:.3g}"].append(point)
    for first, *others in places.values():
        label = ", ".join(point["name"] for point in (first, *others)[:2])
        yield first | {"label": label + f" and {len(others) - 1} more" * (len(others) > 1)}


def _removed(point: Mapping[str, Any]) -> float:
    return float(point["size"])


def _labels(every: Sequence[dict[str, Any]], size: Size) -> list[dict[str, Any]]:
    """Place labels next to their marks with estimated text widths, as there is no canvas at build.

    A label is placed left of its mark if there is no room on the right. If it would overlap a label
    with a lower ratio, it moves up by one line, and is left out if that does not suffice.
    """
    top = 1.08 * max(2.0, *(point["ratio"] for point in every))
    line = top ** ((size.font + 2) / (size.height - 60))  # a line of text on the log axis
    pixel = max(map(_removed, every)) / (size.width - 60 - ROOM)
    edge = max(map(_removed, every)) + ROOM * pixel
    placed: list[dict[str, Any]] = []
    for point in sorted(labelled_points(every), key=lambda point: float(point["ratio"])):
        long = 0.6 * size.font * pixel * (len(point["label"]) + 2)
        left = point["size"] + long > edge and point["size"] > long
        start = point["size"] - long if left else point["size"]
        height = point["ratio"]
        for other in placed:
            apart = start + long < other["start"] or other["end"] < start
            if not apart and height < other["ratio"] * line:
                height = other["ratio"] * line
        if height > point["ratio"] * line**1.2:
            continue
        side = {"align": "right", "dx": -8} if left else {"align": "left", "dx": 8}
        placed.append(point | side | {"ratio": height, "start": start, "end": start + long})
    return placed


def specification(axis: Axis, size: Size = WIDE, live: bool = True) -> dict[str, Any]:
    """Return the Vega specification of a chart without points; `chosen` is the selected point.

    In a live chart Vega places the labels, which requires a canvas.
    """
    return {
        "$schema": "https://vega.github.io/schema/vega/v6.json",
        "width": size.width,
        "height": size.height,
        "padding": 2,
        "autosize": {"type": "fit", "contains": "padding"},
        "background": None,
        "signals": [{"name": "chosen", "value": None}],
        "data": _data(axis),
        "scales": _scales(axis),
        "axes": _axes(axis, size),
        "marks": [*_marks(axis, live), _label_marks(axis, size, live)],
    }


def _data(axis: Axis) -> list[dict[str, Any]]:
    series = [{"type": "filter", "expr": f"datum.family != '{UNJOINED}'"}]
    order = {"type": "collect", "sort": {"field": axis.name}}
    # The Pareto frontier. Sparsities are rounded, because whole units cannot meet them exactly.
    # Quantised models are excluded.
    best = [
        {"type": "filter", "expr": f"datum.state == 'kept' && datum.family != '{QUANTISED}'"},
        {"type": "formula", "as": "at", "expr": f"round(1000 * datum.{axis.name})"},
        {
            "type": "window",
            "sort": {"field": "at", "order": ("ascending", "descending")[axis.more_is_better]},
            "ops": ["min"],
            "fields": ["ratio"],
            "as": ["least"],
            "frame": [None, 0],
        },
        {"type": "filter", "expr": "datum.ratio <= datum.least"},
    ]
    return [
        {"name": "points", "values": []},
        {
            "name": "placed",
            "source": "points",
            "transform": [
                {"type": "filter", "expr": f"isValid(datum.{axis.name})"},
                {"type": "extent", "field": axis.name, "signal": "span"},
                {"type": "extent", "field": "ratio", "signal": "losses"},
            ],
        },
        {"name": "lines", "source": "placed", "transform": [*series, order]},
        {"name": "frontier", "source": "placed", "transform": [*best, order]},
    ]


def _scales(axis: Axis) -> list[dict[str, Any]]:
    return [
        {
            "name": "x",
            **axis.scale,
            "domain": {"signal": axis.domain},
            "range": {"signal": f"[0, width - {ROOM}]"},
            "zero": False,
        },
        {
            "name": "y",
            "type": "log",
            "domain": {"signal": "[min(1, losses[0]), 1.08 * max(2, losses[1])]"},
            "range": "height",
            "zero": False,
        },
        {"name": "colour", "type": "ordinal", "domain": list(FAMILIES), "range": FAMILY_COLOURS},
        {"name": "shape", "type": "ordinal", "domain": list(FAMILIES), "range": list(SHAPES)},
    ]


def _axes(axis: Axis, size: Size) -> list[dict[str, Any]]:
    common: dict[str, Any] = {
        "labelColor": MUTED,
        "titleColor": MUTED,
        "domainColor": MUTED,
        "tickColor": MUTED,
        "labelFontSize": size.font,
        "titleFontSize": size.font,
        "titleFontWeight": "normal",
        "labelFont": "sans-serif",
        "titleFont": "sans-serif",
        "titlePadding": 8,
        "labelPadding": 4,
        "labelOverlap": "greedy",
        "labelSeparation": 6,
        "aria": False,
    }
    label = {"labels": {"update": {"text": {"signal": axis.format}}}}
    across: dict[str, Any] = {"scale": "x", "orient": "bottom", "title": axis.title}
    if axis.ticks:
        across["values"] = list(axis.ticks)
    if not axis.joined:
        across["tickCount"] = {"signal": "max(3, floor(width / 150))"}
    along = {
        "scale": "y",
        "orient": "left",
        "title": "perplexity, times dense",
        "values": [1, 1.5, 2, 3, 5, 10, 20, 50],
        "format": "~g",
        "grid": True,
        "gridColor": RULE,
        "domain": False,
        "ticks": False,
    }
    return [along | common, across | common | {"encode": label}]


def _marks(axis: Axis, live: bool) -> Iterator[dict[str, Any]]:
    place = _place(axis)
    colour = {"scale": "colour", "field": "family"}
    quiet = "chosen && chosen.series != datum.series"
    yield {
        "type": "line",
        "aria": False,
        "from": {"data": "frontier"},
        "encode": {
            "update": place
            | {
                "stroke": {"value": MUTED},
                "strokeWidth": {"value": 1},
                "strokeDash": {"value": [2, 4]},
                "interpolate": {"value": "step-before" if axis.more_is_better else "step-after"},
            }
        },
    }
    if axis.joined:
        yield {
            "type": "group",
            "from": {"facet": {"name": "one", "data": "lines", "groupby": ["series", "family"]}},
            "marks": [
                {
                    "type": "line",
                    "aria": False,
                    "from": {"data": "one"},
                    "encode": {
                        "update": place
                        | {
                            "stroke": colour,
                            "strokeWidth": {"value": 1.3},
                            "strokeOpacity": [{"test": quiet, "value": 0.15}, {"value": 0.5}],
                        }
                    },
                }
            ],
        }
    yield {
        "name": "marks",
        "type": "symbol",
        "from": {"data": "placed"},
        "encode": {
            "enter": {"description": {"field": "title"}, "cursor": {"value": "pointer"}}
            | ({} if live else {"href": {"field": "href"}}),
            "update": place
            | {
                "shape": {"scale": "shape", "field": "family"},
                "size": [{"test": "chosen && chosen.id == datum.id", "value": 170}, {"value": 75}],
                "stroke": colour,
                "strokeWidth": {"value": 1.6},
                "fill": [{"test": "datum.state == 'kept'", **colour}, {"value": PAPER}],
                "opacity": [{"test": quiet, "value": 0.3}, {"value": 1}],
            },
        },
    }


def _label_marks(axis: Axis, size: Size, live: bool) -> dict[str, Any]:
    """Return the Vega marks of the labels."""
    of = "datum." if live else ""
    update: dict[str, Any] = {
        "text": {"field": f"{of}label"},
        "fill": {"scale": "colour", "field": f"{of}family"},
        "font": {"value": "sans-serif"},
        "fontSize": {"value": size.font},
    }
    if not live:
        side = {name: {"field": name} for name in ("align", "dx")}
        update |= _place(axis) | {"baseline": {"value": "middle"}} | side
    named: dict[str, Any] = {
        "type": "text",
        "aria": False,
        "interactive": False,
        "from": {"data": "marks" if live else "labels"},
        "encode": {"update": update},
    }
    if live:
        anchors = ["right", "top-right", "bottom-right", "top", "bottom", "left"]
        area = {"signal": "[width, height]"}
        named["transform"] = [{"type": "label", "anchor": anchors, "offset": [4], "size": area}]
    return named


def _place(axis: Axis) -> dict[str, Any]:
    return {"x": {"scale": "x", "field": axis.name}, "y": {"scale": "y", "field": "ratio"}}
