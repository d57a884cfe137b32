"""SVG figures, drawn at build time from measurements of the harness; CSS sets the colours."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from implementations.harness.results.reading import read_json
from tools.repository import REPOSITORY
from tools.site.code import HARNESS
from tools.site.formatting import number, percent

TICKS = (1, 1.02, 1.05, 1.1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1e3, 1e4, 1e5, 1e6)
MARGIN = 8
"""Room on the right, so that no mark is cut off."""
# Each removes half of 16 by 16 cells; a fixed formula scatters the cells of the first two.
SHAPES = (
    (
        "unstructured",
        "Single weights",
        "anywhere in the matrix",
        "".join(
            f"M{x} {y}h1v1h-1z"
            for y in range(16)
            for x in range(16)
            if (x * x * 7 + y * 11 + x * y * 5) % 13 < 6
        ),
    ),
    (
        "semi-structured",
        "2:4",
        "two of every four in a row",
        "".join(
            f"M{4 * g + (a, b)[i]} {y}h1v1h-1z"
            for y in range(16)
            for g in range(4)
            for a, b in [
                ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))[(y * 7 + g * 5 + y * g) % 6]
            ]
            for i in (0, 1)
        ),
    ),
    (
        "channels",
        "Channels",
        "whole rows, and the matching columns of the next matrix",
        "".join(f"M0 {y}h16v1h-16z" for y in (1, 2, 5, 8, 10, 11, 12, 15)),
    ),
    (
        "heads",
        "Heads",
        "blocks of adjacent rows, and of adjacent columns",
        "M0 4h16v4h-16zM0 12h16v4h-16z",
    ),
)
"""Term, title, text and SVG path of the removed weights for each kind of pruning."""

MARKS = {"left_out": "is-second", "pruned": "is-first"}


@dataclass(frozen=True)
class Width:
    """A page width: the pixels and the font size of a drawing."""

    pixels: int
    font: int
    step: int
    """Decoder layers between two numbers on the axis."""


WIDE, NARROW = Width(720, 12, 1), Width(330, 11, 5)


def picture(name: str, root: Path = REPOSITORY) -> dict[str, Any]:
    """Read the measurements for a figure; empty if there are none."""
    path = root / HARNESS / "pictures" / f"{name}.json"
    return read_json(path) if path.exists() else {}


def patch(rows: Sequence[str], label: str, first: Sequence[str] = ()) -> Markup:
    """Draw the corner of a mask with its removed weights.

    Weights that this mask removes and the mask `first` keeps have a colour of their own.
    """
    first = first or rows
    both, here = (
        [
            "".join("1" if a == "1" and b == also else "0" for a, b in zip(*pair, strict=True))
            for pair in zip(rows, first, strict=True)
        ]
        for also in "10"
    )
    body = f'<path class="is-gone" d="{_runs_of(both)}"/>'
    if any("1" in row for row in here):
        body += f'<path class="is-gone is-new" d="{_runs_of(here)}"/>'
    return svg(len(rows[0]), len(rows), label, body, "patch")


def columns(rows: Sequence[str]) -> tuple[float, float]:
    """Return the smallest and the largest sparsity of a column of a mask."""
    sparsities = [
        sum(cell == "1" for cell in column) / len(rows) for column in zip(*rows, strict=True)
    ]
    return min(sparsities), max(sparsities)


def shares(one_ranking: Sequence[Mapping[str, float]], width: Width) -> Markup:
    """Draw the sparsity of each matrix: one column per decoder layer, one row per role.

    The palest cell has the smallest sparsity, the strongest the largest.
    """
    roles = list(one_ranking[0])
    least, most = extremes(one_ranking)

    def strength(share: float) -> float:
        return 0.04 + 0.96 * (share - least) / ((most - least) or 1)

    left, top = 42, 4 + width.font + 6
    across = (width.pixels - left) / len(one_ranking)
    high = max(across * 0.8, width.font + 5.0)
    parts = [
        f'<rect class="is-share" x="{left + block * across:.1f}" y="{top + row * high:.1f}" '
        f'width="{across - 1:.1f}" height="{high - 1:.1f}" '
        f'fill-opacity="{strength(by_role[role]):.2f}">'
        f"<title>decoder layer {block}, {role}: {percent(by_role[role])}</title></rect>"
        for block, by_role in enumerate(one_ranking)
        for row, role in enumerate(roles)
    ]
    parts += [
        text(left - 7, top + (row + 0.5) * high + width.font * 0.36, role, "end", width)
        for row, role in enumerate(roles)
    ]
    parts.append(text(0, width.font, "matrix", "start", width))
    bottom = top + len(roles) * high
    parts += _blocks(len(one_ranking), left, across, bottom + width.font + 4, width)
    label = "Sparsity of each matrix when all weights are ranked together by magnitude"
    return svg(width.pixels, bottom + 2 * width.font + 10, label, "".join(parts))


def extremes(one_ranking: Sequence[Mapping[str, float]]) -> tuple[float, float]:
    """Return the smallest and the largest sparsity of a matrix."""
    sparsities = [share for by_role in one_ranking for share in by_role.values()]
    return min(sparsities), max(sparsities)


def sensitivity(measured: Mapping[str, Any], width: Width) -> Markup:
    """Draw perplexity relative to dense with one decoder layer pruned or skipped, on a log axis."""
    series = {name: [v / measured["dense"] for v in measured[name]] for name in MARKS}
    values = [value for ratios in series.values() for value in ratios]
    low, highest = min(1.0, *values), max(values) * 1.1
    left, top, tall = 46, 8 + width.font + 6, 280
    across = (width.pixels - left - MARGIN) / len(measured["pruned"])

    def at(value: float) -> float:
        return top + tall * (1 - math.log(value / low) / math.log(highest / low))

    parts = [_rule(left, width.pixels, at(tick), width, tick) for tick in _ticks(at, low, highest)]
    for name, ratios in series.items():
        for block, ratio in enumerate(ratios):
            x, y = left + (block + 0.5) * across, at(ratio)
            parts.append(
                mark(MARKS[name], x, y, f"decoder layer {block}: {number(ratio)} times dense")
            )
    parts.append(text(0, width.font, "perplexity, times dense", "start", width))
    parts += _blocks(len(measured["pruned"]), left, across, top + tall + width.font + 6, width)
    label = "Perplexity, times dense, with one decoder layer pruned or left out"
    return svg(width.pixels, top + tall + 2 * width.font + 12, label, "".join(parts))


def _runs_of(rows: Sequence[str]) -> str:
    return "".join(
        f"M{start} {y}.5h{end - start}" for y, row in enumerate(rows) for start, end in _runs(row)
    )


def _runs(row: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each run of ones."""
    start = row.find("1")
    while start >= 0:
        end = row.find("0", start)
        end = len(row) if end < 0 else end
        yield start, end
        start = row.find("1", end)


def _ticks(at: Any, low: float, highest: float) -> Iterator[float]:
    """Yield the round values whose labels fit on the axis without overlap."""
    last = math.inf
    for tick in TICKS:
        if low <= tick <= highest and last - at(tick) >= 22:
            last = at(tick)
            yield tick


def _rule(left: float, right: float, y: float, width: Width, tick: float) -> str:
    line = f'<path class="is-rule" d="M{left} {y:.1f}H{right}"/>'
    return line + text(left - 7, y + width.font * 0.36, f"{tick:,g}", "end", width)


def mark(kind: str, x: float, y: float, title: str) -> str:
    """Draw a mark with a title."""
    shape = "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z" if kind == "is-first" else "m0 -5l5 5l-5 5l-5 -5z"
    return f'<path class="{kind}" d="M{x:.1f} {y:.1f}{shape}"><title>{title}</title></path>'


def _blocks(count: int, left: float, across: float, y: float, width: Width) -> list[str]:
    """Draw the numbers and the title of the axis of decoder layers."""
    every = width.step if across * width.step >= 1.6 * width.font else width.step + 1
    numbers = [
        text(left + (block + 0.5) * across, y, str(block), "middle", width)
        for block in range(0, count, every)
    ]
    return [
        *numbers,
        text((left + width.pixels) / 2, y + width.font + 3, "decoder layer", "middle", width),
    ]


def text(x: float, y: float, words: str, anchor: str, width: Width) -> str:
    """Draw a text."""
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{width.font}"'
    return f"<text {where}>{html.escape(words)}</text>"


def svg(width: float, height: float, label: str, body: str, kind: str = "plot") -> Markup:
    """Wrap a drawing in an SVG element with a label for screen readers."""
    frame = f'viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{html.escape(label)}"'
    return Markup(f'<svg class="atlas-figure--{kind}" {frame}>{body}</svg>')
