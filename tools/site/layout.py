"""Graph layout with Graphviz at build time: positions of boxes and paths of the lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pygraphviz import AGraph

INCH = 72
"""Pixels to an inch; Graphviz takes sizes in inches."""


@dataclass(frozen=True)
class Layout:
    """The positions of a graph, in pixels from the top left."""

    width: int
    height: int
    centres: Mapping[str, tuple[int, int]]
    """The centre of each box."""
    curves: Mapping[tuple[str, str], str]
    """The SVG path of each line."""


def lay_out(
    sizes: Mapping[str, tuple[int, int]],
    lines: Iterable[tuple[str, str]],
    spacing: tuple[int, int] = (10, 44),
) -> Layout:
    """Lay out a graph from left to right.

    `sizes` maps each box to its width and height, and `spacing` is the least space below and beside
    a box, all in pixels.
    """
    names = {box: f"b{i}" for i, box in enumerate(sizes)}
    boxes = {name: box for box, name in names.items()}
    below, beside = (f"{space / INCH:.3f}" for space in spacing)
    graph = AGraph(
        directed=True, rankdir="LR", nodesep=below, ranksep=beside, outputorder="edgesfirst"
    )
    graph.node_attr.update(shape="box", label="", fixedsize="true")
    graph.edge_attr.update(dir="none", headport="w", tailport="e")
    for box, (width, height) in sizes.items():
        graph.add_node(names[box], width=f"{width / INCH:.3f}", height=f"{height / INCH:.3f}")
    graph.add_edges_from((names[start], names[end]) for start, end in lines)
    plain = graph.draw(format="plain", prog="dot").decode()
    return _read(plain, boxes)


def _read(plain: str, boxes: Mapping[str, str]) -> Layout:
    """Read Graphviz's plain format, in inches.

    Graphviz counts from the bottom and puts the first boxes there. The result counts from the top,
    so the first boxes, usually the largest component, come out on top.
    """
    width = height = 0.0
    centres: dict[str, tuple[int, int]] = {}
    curves: dict[tuple[str, str], str] = {}

    def place(x: str, y: str) -> tuple[int, int]:
        return round(float(x) * INCH), round(float(y) * INCH)

    for line in plain.splitlines():
        kind, *words = line.split()
        if kind == "graph":
            width, height = float(words[1]), float(words[2])
        elif kind == "node" and words[0] in boxes:
            centres[boxes[words[0]]] = place(words[1], words[2])
        elif kind == "edge" and words[0] in boxes:
            count = int(words[2])
            points = [place(*words[i : i + 2]) for i in range(3, 3 + 2 * count, 2)]
            (x, y), *more = points
            curve = " ".join(f"{x} {y}" for x, y in more)
            curves[boxes[words[0]], boxes[words[1]]] = f"M{x} {y}C{curve}"
    return Layout(round(width * INCH), round(height * INCH), centres, curves)
