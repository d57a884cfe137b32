"""Places for the boxes of a graph and curves for its lines, found by Graphviz at build."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pygraphviz import AGraph

INCH = 72
"""Graphviz counts sizes in inches, and places in points: a pixel stands for a point here."""


@dataclass(frozen=True)
class Laid:
    """A graph in its place, in pixels from the top left."""

    width: int
    height: int
    middles: Mapping[str, tuple[int, int]]
    """Of each box."""
    curves: Mapping[tuple[str, str], str]
    """Of each line, as an SVG path."""


def lay(
    sizes: Mapping[str, tuple[int, int]],
    lines: Iterable[tuple[str, str]],
    columns: Sequence[Sequence[str]] = (),
    apart: tuple[int, int] = (10, 44),
) -> Laid:
    """Lay a graph from left to right.

    `sizes` are width and height of each box, `columns` boxes that stand above each other, in the
    order of their columns, and `apart` the least space below and beside a box.
    """
    names = {box: f"b{i}" for i, box in enumerate(sizes)}
    boxes = {name: box for box, name in names.items()}
    below, beside = (f"{space / INCH:.3f}" for space in apart)
    graph = AGraph(
        directed=True, rankdir="LR", nodesep=below, ranksep=beside, outputorder="edgesfirst"
    )
    graph.node_attr.update(shape="box", label="", fixedsize="true")
    graph.edge_attr.update(dir="none", headport="w", tailport="e")
    for box, (width, height) in sizes.items():
        graph.add_node(names[box], width=f"{width / INCH:.3f}", height=f"{height / INCH:.3f}")
    for i, column in enumerate(columns):
        mark = f"c{i}"
        graph.add_node(mark, style="invis", width="0.01", height="0.01")
        graph.add_subgraph([mark, *(names[box] for box in column)], rank="same")
        if i:
            graph.add_edge(f"c{i - 1}", mark, style="invis", weight="100")
    graph.add_edges_from((names[start], names[end]) for start, end in lines)
    plain = graph.draw(format="plain", prog="dot").decode()
    return _read(plain, boxes)


def _read(plain: str, boxes: Mapping[str, str]) -> Laid:
    """Read Graphviz's plain format, in inches.

    What was given first, and is the largest part as a rule, lies at the bottom, from where it
    counts: upside down it stands on top.
    """
    width = height = 0.0
    middles: dict[str, tuple[int, int]] = {}
    curves: dict[tuple[str, str], str] = {}

    def place(x: str, y: str) -> tuple[int, int]:
        return round(float(x) * INCH), round(float(y) * INCH)

    for line in plain.splitlines():
        kind, *words = line.split()
        if kind == "graph":
            width, height = float(words[1]), float(words[2])
        elif kind == "node" and words[0] in boxes:
            middles[boxes[words[0]]] = place(words[1], words[2])
        elif kind == "edge" and words[0] in boxes:
            count = int(words[2])
            points = [place(*words[i : i + 2]) for i in range(3, 3 + 2 * count, 2)]
            (x, y), *more = points
            curve = " ".join(f"{x} {y}" for x, y in more)
            curves[boxes[words[0]], boxes[words[1]]] = f"M{x} {y}C{curve}"
    return Laid(round(width * INCH), round(height * INCH), middles, curves)
