"""What builds on what: the relations of the catalog, and drawings in which time goes right."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

from tools.catalog.schema.paper import Outside
from tools.site.atlas import Atlas
from tools.site.facts import first_public
from tools.site.layout import Laid, lay

K = TypeVar("K")
V = TypeVar("V")

DRAWN = ("builds-on", "extends")
"""The relations that make lineage; `compares-with` is drawn around the paper that says so alone."""

TALL = 26  # height of a box, which can be pressed
LETTER = 7.6  # width of a letter, generous
LONGEST = 22
BEFORE = 14  # from where a year begins to its first box
QUARTERS = 2022
"""The first year with a column for each quarter; before it a year is one."""
MOST = 12
"""Papers drawn on each side of one."""


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
    outside: Outside | None = None
    more: bool = False
    """Whether it stands for papers that are not drawn."""

    @property
    def label(self) -> str:
        """The name, shortened to what fits."""
        return self.name if len(self.name) <= LONGEST else self.name[: LONGEST - 1].rstrip() + "…"

    @property
    def width(self) -> int:
        """Of its box, from the number of letters."""
        return max(TALL, round(LETTER * len(self.label)) + 18)


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
    def centre(self) -> tuple[int, int]:
        """Its middle."""
        return self.x + self.node.width // 2, self.y + TALL // 2


@dataclass(frozen=True)
class Graph:
    """Papers that have something to do with each other, in order of time, and how."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    @cached_property
    def by_id(self) -> Mapping[str, Node]:
        """Every paper by its id, in order of time."""
        return {node.id: node for node in self.nodes}

    @cached_property
    def earlier(self) -> Mapping[str, list[Edge]]:
        """What each paper says of others."""
        return _grouped((edge.later, edge) for edge in self.edges)

    @cached_property
    def later(self) -> Mapping[str, list[Edge]]:
        """What others say of each paper."""
        return _grouped((edge.earlier, edge) for edge in self.edges)

    @cached_property
    def lineage(self) -> Graph:
        """The part that builds on something or is built on, without comparisons."""
        edges = tuple(edge for edge in self.edges if edge.how in DRAWN)
        ends = {end for edge in edges for end in (edge.later, edge.earlier)}
        return Graph(tuple(node for node in self.nodes if node.id in ends), edges)


@dataclass(frozen=True)
class Drawing:
    """Everything in its place."""

    width: int
    height: int
    boxes: Mapping[str, Box]
    """By node, in order of time."""
    edges: tuple[tuple[Edge, str], ...]
    """Each relation with its path."""
    years: tuple[tuple[int, int], ...] = ()
    """Each year with where it begins."""


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
    nodes = [_paper_node(slug, atlas) for slug in atlas.papers if slug in joined]
    nodes += [_outside_node(id_, other) for id_, other in outside.items()]
    nodes.sort(key=lambda node: (node.year, node.month, node.name))
    return Graph(tuple(nodes), tuple(edges.values()))


def draw(found: Graph) -> Drawing:
    """Draw a whole graph, each paper in the column of its time."""
    columns = _columns(found)
    laid = lay(
        _sizes(found.nodes),
        [(edge.earlier, edge.later) for edge in found.edges],
        [[node.id for node in column] for _, column in columns],
    )
    made = _drawing(found.nodes, found.edges, laid)
    starts: dict[int, int] = {}
    for year, column in columns:
        left = min(made.boxes[node.id].x for node in column) - BEFORE
        starts[year] = min(left, starts.get(year, left))
    return replace(made, years=tuple(starts.items()))


def around(found: Graph, slug: str) -> Drawing | None:
    """Draw the neighbourhood of one paper, None for a paper that has none.

    On each side the papers it has a relation with, those of its lineage before those it is
    compared with; of more than `MOST` those that others build on most, and a box for the rest.
    Behind its lineage stands one generation more if that is no more than `MOST` papers.
    """
    if slug not in found.by_id:
        return None
    near = {slug: found.by_id[slug]}
    lines: list[Edge] = []
    for end, related in (("earlier", found.earlier), ("later", found.later)):
        own = sorted(related.get(slug, ()), key=lambda edge: _rank(edge, end, found))
        shown = own[:MOST]
        lines += [edge for edge in shown if edge.how not in DRAWN]
        first = _ends(shown, end)
        parents = _ends((edge for edge in shown if edge.how in DRAWN), end)
        behind = getattr(found.lineage, end)
        second = _ends((edge for one in parents for edge in behind.get(one, ())), end)
        near |= {id_: found.by_id[id_] for id_ in first + second * (len(set(second)) <= MOST)}
        if len(own) > MOST:
            more = Node(f"more-{end}", f"{len(own) - MOST} more", "", 0, 0, more=True)
            near[more.id] = more
            pair = (slug, more.id) if end == "earlier" else (more.id, slug)
            lines.append(Edge(*pair, "more"))
    lines += [edge for edge in found.lineage.edges if {edge.later, edge.earlier} <= near.keys()]
    nodes = [node for node in found.nodes if node.id in near]
    nodes += [node for node in near.values() if node.more]
    return _drawing(nodes, lines, lay(_sizes(nodes), [(e.earlier, e.later) for e in lines]))


def _rank(edge: Edge, end: str, found: Graph) -> tuple[bool, int, int]:
    """Order relatives: lineage before comparisons, then what others build on, then the newest."""
    other = getattr(edge, end)
    return edge.how not in DRAWN, -len(found.lineage.later.get(other, ())), -found.by_id[other].year


def _ends(edges: Iterable[Edge], end: str) -> list[str]:
    return [getattr(edge, end) for edge in edges]


def _columns(found: Graph) -> list[tuple[int, list[Node]]]:
    """Return the papers of each year or quarter; what builds on its like stands right of it."""
    steps: dict[str, int] = {}
    columns: dict[tuple[int, int, int], list[Node]] = defaultdict(list)
    for node in found.nodes:
        time = _time(node)
        before = [e.earlier for e in found.earlier.get(node.id, ()) if e.earlier in steps]
        steps[node.id] = max(
            (steps[one] + 1 for one in before if _time(found.by_id[one]) == time), default=0
        )
        columns[*time, steps[node.id]].append(node)
    return [(key[0], columns[key]) for key in sorted(columns)]


def _time(node: Node) -> tuple[int, int]:
    return node.year, int(node.month // 3) if node.year >= QUARTERS else 0


def _sizes(nodes: Iterable[Node]) -> dict[str, tuple[int, int]]:
    return {node.id: (node.width, TALL) for node in nodes}


def _drawing(nodes: Iterable[Node], edges: Iterable[Edge], laid: Laid) -> Drawing:
    """Put boxes and lines where they were laid."""
    boxes = {}
    for node in nodes:
        x, y = laid.middles[node.id]
        boxes[node.id] = Box(node, x - node.width // 2, y - TALL // 2)
    lines = tuple((edge, laid.curves[edge.earlier, edge.later]) for edge in edges)
    return Drawing(laid.width, laid.height, boxes, lines)


def _paper_node(slug: str, atlas: Atlas) -> Node:
    paper = atlas.papers[slug]
    year, month = first_public(paper)
    return Node(slug, atlas.names[slug], paper.title, year, month)


def _outside_id(other: Outside) -> str:
    return f"outside-{other.arxiv or other.doi or other.title}"


def _outside_node(id_: str, other: Outside) -> Node:
    name = other.title.partition(":")[0]
    return Node(id_, name, other.title, other.year, 5.5, outside=other)


def _grouped(pairs: Iterable[tuple[K, V]]) -> dict[K, list[V]]:
    groups: dict[K, list[V]] = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return groups
