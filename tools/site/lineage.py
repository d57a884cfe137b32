"""Where each paper stands in the drawing of what builds on what: time across, granularity down."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from tools.catalog.schema.paper import Outside
from tools.catalog.schema.vocabulary import vocabulary
from tools.site.atlas import Atlas
from tools.site.facts import first_public

K = TypeVar("K")
V = TypeVar("V")

DRAWN = ("builds-on", "extends")
"""The relations that make lineage; `compares-with` is shown on demand."""

TALL, SMALL = 30, 20  # heights of boxes
GAP, ACROSS = 14, 28  # least space between boxes, below and beside
LETTER, LETTER_SMALL = 8.0, 6.3  # widths of a letter, generous
LONGEST = 22
HEAD, LANE_PAD, LABEL = 34, 16, 24  # of the years' row, around a lane, of a lane's name
LEFT = 12
MONTH, YEAR = 26, 110  # least widths


@dataclass(frozen=True)
class Edge:
    """One relation: `later` has it with `earlier`."""

    later: str
    earlier: str
    how: str


@dataclass(frozen=True)
class Node:
    """One paper: in the catalog by its slug, outside it by a name of its own."""

    id: str
    name: str
    title: str
    year: int
    month: float
    """Within the year, from 0; the middle where only the year is known."""
    lane: str
    outside: Outside | None = None
    large: bool = False
    """Whether it takes part in the lineage, or only in comparisons."""

    @property
    def label(self) -> str:
        """The name, shortened to what fits."""
        return self.name if len(self.name) <= LONGEST else self.name[: LONGEST - 1].rstrip() + "…"

    @property
    def width(self) -> int:
        """Of its box, from the number of letters."""
        letter = LETTER if self.large else LETTER_SMALL
        return round(letter * len(self.label)) + (20 if self.large else 12)

    @property
    def height(self) -> int:
        """Of its box."""
        return TALL if self.large else SMALL


@dataclass(frozen=True)
class Box:
    """A node in its place."""

    node: Node
    x: int
    y: int

    @property
    def right(self) -> int:
        """Its right edge."""
        return self.x + self.node.width

    @property
    def middle(self) -> int:
        """Its middle, from above."""
        return self.y + self.node.height // 2


@dataclass(frozen=True)
class Lane:
    """A strip of the drawing."""

    label: str
    y: int
    height: int


@dataclass(frozen=True)
class Graph:
    """Papers that have something to do with each other, in order of time, and how."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    @cached_property
    def earlier(self) -> Mapping[str, list[Edge]]:
        """What each paper says of others."""
        return _grouped((edge.later, edge) for edge in self.edges)

    @cached_property
    def later(self) -> Mapping[str, list[Edge]]:
        """What others say of each paper."""
        return _grouped((edge.earlier, edge) for edge in self.edges)


@dataclass(frozen=True)
class Drawing:
    """Everything in its place."""

    width: int
    height: int
    boxes: Mapping[str, Box]
    """By node, in order of time."""
    lanes: tuple[Lane, ...]
    years: tuple[tuple[int, int, int], ...]
    """Year, left edge, width."""
    edges: tuple[tuple[Edge, str], ...]
    """Each relation with its path."""


def graph(atlas: Atlas) -> Graph:
    """Collect the relations of the catalog and the papers they join; what has no year has none."""
    edges: dict[tuple[str, str], Edge] = {}
    outside: dict[str, Outside] = {}
    dated = {slug for slug, paper in atlas.papers.items() if paper.has_paper}
    for slug, paper in atlas.papers.items():
        for how, other in paper.relations:
            target = other if isinstance(other, str) else _outside_id(other)
            if isinstance(other, Outside):
                outside[target] = other
            if target != slug and {slug, target} <= dated | outside.keys():
                edges.setdefault((slug, target), Edge(slug, target, how))
    joined = {end for edge in edges.values() for end in (edge.later, edge.earlier)}
    lineage = {
        end for edge in edges.values() if edge.how in DRAWN for end in (edge.later, edge.earlier)
    }
    nodes = [_paper_node(slug, atlas, slug in lineage) for slug in atlas.papers if slug in joined]
    nodes += [_outside_node(id_, other) for id_, other in outside.items()]
    nodes.sort(key=lambda node: (node.year, node.month, node.name))
    return Graph(tuple(nodes), tuple(edges.values()))


def draw(found: Graph) -> Drawing:
    """Give every paper its place: columns by time, rows within a lane so that none overlap."""
    years = tuple(_years(found.nodes))
    starts = {year: (x, width) for year, x, width in years}
    by_lane = _grouped((node.lane, node) for node in found.nodes)
    boxes: dict[str, Box] = {}
    lanes = []
    y = HEAD
    for lane in [lane for lane in _lanes() if lane in by_lane]:
        rows = list(_rows(by_lane[lane], starts))
        height = LABEL + LANE_PAD + max(row for _, _, row in rows) * (TALL + GAP) + TALL
        for node, x, row in rows:
            top = y + LABEL + row * (TALL + GAP) + (TALL - node.height) // 2
            boxes[node.id] = Box(node, x, top)
        lanes.append(Lane(lane, y, height))
        y += height
    boxes = {node.id: boxes[node.id] for node in found.nodes}
    right = max((0, *(box.right for box in boxes.values()), *(x + width for _, x, width in years)))
    # What comes from different papers keeps apart where it runs between the same rows.
    apart = {node.id: 2 * (i % 5) - 4 for i, node in enumerate(found.nodes)}
    paths = tuple(
        (edge, _path(boxes[edge.earlier], boxes[edge.later], apart[edge.earlier]))
        for edge in found.edges
    )
    return Drawing(right + LEFT, y + LANE_PAD, boxes, tuple(lanes), years, paths)


def _years(nodes: Iterable[Node]) -> Iterator[tuple[int, int, int]]:
    """Yield each year in which there is something, as wide as its months need."""
    months: dict[int, set[int]] = defaultdict(set)
    for node in nodes:
        months[node.year].add(int(node.month))
    x = LEFT
    for year in sorted(months):
        spread = max(months[year]) - min(months[year]) + 1
        width = max(YEAR, MONTH * spread)
        yield year, x, width
        x += width


def _rows(
    nodes: list[Node], starts: Mapping[int, tuple[int, int]]
) -> Iterator[tuple[Node, int, int]]:
    """Yield nodes in order of time, each with its left edge and the first row free there."""
    free: list[int] = []  # rows that are free at the present place
    busy: list[tuple[int, int]] = []  # right edge and row of the others
    count = 0
    for node in nodes:
        x = _left(node, starts)
        while busy and busy[0][0] <= x:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if free:
            row = heapq.heappop(free)
        else:
            row, count = count, count + 1
        heapq.heappush(busy, (x + node.width + ACROSS, row))
        yield node, x, row


def _left(node: Node, starts: Mapping[int, tuple[int, int]]) -> int:
    x, width = starts[node.year]
    return round(x + 8 + (width - 16) * node.month / 12)


def _path(earlier: Box, later: Box, apart: int) -> str:
    """Draw a line from the right of the earlier paper to the left of the later one.

    A long one runs in the space between two rows, so that it passes behind no other paper.
    """
    x1, y1, x2, y2 = earlier.right, earlier.middle, later.x, later.middle
    if x2 - x1 < 60:
        bend = max(18, abs(x2 - x1) // 2)
        return f"M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"
    between = y2 + (TALL + GAP) // 2 * (1 if y1 > y2 else -1) + apart
    return (
        f"M{x1} {y1}C{x1 + 14} {y1} {x1 + 8} {between} {x1 + 26} {between}"
        f"H{x2 - 26}C{x2 - 8} {between} {x2 - 14} {y2} {x2} {y2}"
    )


def _lanes() -> list[str]:
    return [*(term.label for term in vocabulary()["granularity"].terms.values()), OTHERS]


OTHERS = "others"


def _paper_node(slug: str, atlas: Atlas, large: bool) -> Node:
    paper = atlas.papers[slug]
    terms = vocabulary()["granularity"].terms
    words = paper.taxonomy.granularity if paper.taxonomy else ()
    lane = terms[words[0]].label if words and words[0] in terms else OTHERS
    year, month = first_public(paper)
    return Node(slug, atlas.names[slug], paper.title, year, month, lane, large=large)


def _outside_id(other: Outside) -> str:
    return f"outside-{other.arxiv or other.doi or other.title}"


def _outside_node(id_: str, other: Outside) -> Node:
    return Node(id_, other.title, other.title, other.year, 5.5, OTHERS, outside=other)


def _grouped(pairs: Iterable[tuple[K, V]]) -> dict[K, list[V]]:
    groups: dict[K, list[V]] = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return groups
