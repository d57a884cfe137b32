"""Charts of a board in Vega: drawn as SVG at build, interactive with JavaScript.

One specification serves both: `draw` renders it with a board's points, and `specification` hands
it to the page, whose script fills in the points of the board that was chosen.
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
from implementations.harness.results.field_types import one_line
from implementations.harness.results.metric import metric
from implementations.harness.results.record import NO_SPEED_UP
from tools.site.addresses import record_address
from tools.site.formatting import number, seconds

SHAPES = ("circle", "diamond", "square", "triangle-up", "cross")
# The same marks as paths in a box of 12 by 12 around the origin, for the key beside the chart.
MARKS = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z",
    "M0 -5L5 0L0 5L-5 0Z",
    "M-4 -4H4V4H-4Z",
    "M0 -5L5 4H-5Z",
    "M-5 -2H-2V-5H2V-2H5V2H2V5H-2V2H-5Z",
)

# SVG takes the variables of the style sheet as colours, and so follows light and dark.
FAMILY_COLOURS = [f"var(--atlas-family-{i + 1})" for i in range(len(FAMILIES))]
INK, MUTED, RULE, PAPER = (f"var(--atlas-{name})" for name in ("ink", "muted", "rule", "paper"))
# The converter completes a relative address with one of its own, so it gets a complete one.
NOWHERE = "https://atlas.invalid/"
# Patterns of one method share their sparsity: a line between them would say nothing.
UNJOINED = FAMILIES[1]
MOST = 100  # points of a picture
ROOM = 92  # pixels right of the farthest point, for its name


@dataclass(frozen=True)
class Against:
    """The horizontal axis of a chart; the vertical one is quality."""

    name: str
    label: str
    title: str
    scale: Mapping[str, Any]
    domain: str
    """The ends of the axis as an expression of `span`, the smallest and largest value."""
    format: str
    more_is_better: bool
    ticks: tuple[float, ...] = ()
    joined: bool = False
    """Whether a line joins the settings of a method."""


AGAINST = (
    Against(
        name="size",
        label="Size",
        title="share of the blocks' weights removed",
        scale={"type": "linear"},
        # Up to a whole tenth, so that the greatest share has its tick.
        domain="[0, max(1, ceil(10 * span[1] - 0.05)) / 10]",
        format="round(100 * datum.value) + ' %'",
        more_is_better=True,
        ticks=tuple(share / 10 for share in range(11)),
        joined=True,
    ),
    Against(
        name="speed",
        label="Speed",
        title="speed of generation, times dense",
        scale={"type": "linear"},
        domain="[min(1, span[0]), span[1]]",
        format="format(datum.value, '.2~f') + '×'",
        more_is_better=True,
        ticks=tuple(share / 10 for share in range(11)),
        joined=True,
    ),
    Against(
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
    """Size of a drawing in its own pixels; it scales to the page's width."""

    width: int
    height: int
    font: int


WIDE = Size(width=960, height=440, font=13)
NARROW = Size(width=330, height=430, font=11)


@dataclass(frozen=True)
class Drawn:
    """A board with its chart for wide and for narrow pages."""

    board: Board
    wide: str
    narrow: str


def drawn(board: Board, names: Mapping[str, str], up: str = "") -> Drawn:
    """Draw a board for wide and narrow pages; `up` is the relative path to the root of the site."""
    return Drawn(board, draw(board, names, WIDE, up), draw(board, names, NARROW, up))


def draw(board: Board, names: Mapping[str, str], size: Size = WIDE, up: str = "") -> str:
    """Draw perplexity, as a multiple of the dense one, against the share of weights removed.

    Returns an SVG element to be set into a page; every point links to its record. Runs past the
    mark of collapse lie on it, hollow. Of more than `MOST` rows only those of least loss are drawn.
    An empty string where nothing was measured.
    """
    least = sorted(points(board, names), key=lambda point: float(point["ratio"]))[:MOST]
    measured = [point | {"href": NOWHERE + point["href"]} for point in least]
    if not measured:
        return ""
    spec = specification(AGAINST[0], size, live=False)
    spec["data"][0]["values"] = measured
    spec["data"].append({"name": "labels", "values": _labels(measured, size)})
    svg: str = vl_convert.vega_to_svg(json.dumps(spec))
    for written, instead in {NOWHERE: up, "xlink:href": "href"}.items():
        svg = svg.replace(written, instead)
    # The description that a screen reader says, shown under the mouse as well.
    return re.sub(r'(<path aria-label="([^"]*)"[^>]*?)/>', r"\1><title>\2</title></path>", svg)


def points(board: Board, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the points of a board's charts, without rows whose quality was not measured."""
    return [point for row in board.rows if (point := point_of(row, board, names))]


def point_of(row: Row, board: Board, names: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the point of a row; None if its quality was not measured."""
    ratio = row.ratio(board.metrics[0])
    if ratio is None or not ratio.mean > 0:  # which also a mean of infinities is not
        return None
    first = row.first
    name = one_line(names.get(first.method, first.method))
    collapse = metric(board.metrics[0]).collapse
    collapsed = row.collapsed or ratio.mean > collapse
    rate, prune = row.rate("decode"), row.seconds("prune")
    return {
        "id": first.key,
        "size": round(row.achieved, 3),
        "speed": rate.ratio if rate else None,
        "time": prune.mean if prune and prune.mean > 0 else None,
        "ratio": min(ratio.mean, collapse),
        "family": row.family,
        "series": f"{first.method} {row.family} {' '.join(first.changed)}",
        "name": _short(" ".join(filter(None, [name, first.pattern, *first.changes]))),
        "label": "",
        "state": "collapsed" if collapsed else "kept",
        "title": f"{_short(name)}, {first.settings}: "
        + ("collapsed" if collapsed else f"{number(ratio.mean)} times the dense perplexity"),
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


def named(made: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the points that are labelled: the last point of each line, and every pattern.

    Of points at one place the first has the names of all.
    """
    last = {point["series"] + point["name"]: point for point in sorted(made, key=_removed)}
    places: dict[tuple[float, str], list[dict[str, Any]]] = defaultdict(list)
    for point in last.values():
        places[point["size"], f"{point['ratio']:.3g}"].append(point)
    for first, *others in places.values():
        label = ", ".join(point["name"] for point in (first, *others)[:2])
        yield first | {"label": label + f" and {len(others) - 1} more" * (len(others) > 1)}


def _removed(point: Mapping[str, Any]) -> float:
    return float(point["size"])


def _labels(made: Sequence[dict[str, Any]], size: Size) -> list[dict[str, Any]]:
    """Place labels next to their marks, for drawing without a canvas that measures text.

    A name stands left of its mark where there is no room right of it, moves up a line where it
    would touch another, and is left out where that is not enough: the lower loss has its name.
    """
    top = 1.08 * max(2.0, *(point["ratio"] for point in made))
    line = top ** ((size.font + 2) / (size.height - 60))  # a line of text on the log axis
    pixel = max(map(_removed, made)) / (size.width - 60 - ROOM)
    edge = max(map(_removed, made)) + ROOM * pixel
    placed: list[dict[str, Any]] = []
    for point in sorted(named(made), key=lambda point: float(point["ratio"])):
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


def specification(against: Against, size: Size = WIDE, live: bool = True) -> dict[str, Any]:
    """Describe a chart in Vega, without points; `chosen` is the selected point.

    A live one lets Vega place the names, which takes a canvas.
    """
    return {
        "$schema": "https://vega.github.io/schema/vega/v6.json",
        "width": size.width,
        "height": size.height,
        "padding": 2,
        "autosize": {"type": "fit", "contains": "padding"},
        "background": None,
        "signals": [{"name": "chosen", "value": None}],
        "data": _data(against),
        "scales": _scales(against),
        "axes": _axes(against, size),
        "marks": [*_marks(against, live), _named(against, size, live)],
    }


def _data(against: Against) -> list[dict[str, Any]]:
    series = [{"type": "filter", "expr": f"datum.family != '{UNJOINED}'"}]
    order = {"type": "collect", "sort": {"field": against.name}}
    # The Pareto front. Shares that differ only because whole units do not add up count as the same
    # share; quantised models are left out.
    best = [
        {"type": "filter", "expr": f"datum.state == 'kept' && datum.family != '{QUANTISED}'"},
        {"type": "formula", "as": "at", "expr": f"round(1000 * datum.{against.name})"},
        {
            "type": "window",
            "sort": {"field": "at", "order": ("ascending", "descending")[against.more_is_better]},
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
                {"type": "filter", "expr": f"isValid(datum.{against.name})"},
                {"type": "extent", "field": against.name, "signal": "span"},
                {"type": "extent", "field": "ratio", "signal": "losses"},
            ],
        },
        {"name": "lines", "source": "placed", "transform": [*series, order]},
        {"name": "frontier", "source": "placed", "transform": [*best, order]},
    ]


def _scales(against: Against) -> list[dict[str, Any]]:
    return [
        {
            "name": "x",
            **against.scale,
            "domain": {"signal": against.domain},
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


def _axes(against: Against, size: Size) -> list[dict[str, Any]]:
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
    label = {"labels": {"update": {"text": {"signal": against.format}}}}
    across: dict[str, Any] = {"scale": "x", "orient": "bottom", "title": against.title}
    if against.ticks:
        across["values"] = list(against.ticks)
    if not against.joined:
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


def _marks(against: Against, live: bool) -> Iterator[dict[str, Any]]:
    place = _place(against)
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
                "interpolate": {"value": "step-before" if against.more_is_better else "step-after"},
            }
        },
    }
    if against.joined:
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


def _named(against: Against, size: Size, live: bool) -> dict[str, Any]:
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
        update |= _place(against) | {"baseline": {"value": "middle"}} | side
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


def _place(against: Against) -> dict[str, Any]:
    return {"x": {"scale": "x", "field": against.name}, "y": {"scale": "y", "field": "ratio"}}
