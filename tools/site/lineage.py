"""Graph of the papers that build on each other, and the drawing around one paper by Graphviz."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from pygraphviz import AGraph

from tools.catalog.schema.paper import Outside
from tools.site.atlas import Atlas
from tools.site.paper_facts import first_public

K = TypeVar("K")
V = TypeVar("V")

DRAWN = ("builds-on", "extends")
"""Relations drawn between any two papers. `compares-with` is drawn only to the paper itself."""

INCH = 72  # pixels; Graphviz takes sizes in inches
HEIGHT = 26  # height of a box in pixels, large enough to tap
LETTER = 7.6  # width of a letter in pixels, rounded up
MAX_LETTERS = 22  # letters of a label
MAX_DIRECT = 12
"""Direct relations on each side up to which comparisons are drawn."""
MAX_PAPERS = 24
"""Papers on each side up to which the second generation is drawn."""


@dataclass(frozen=True)
class Edge:
    """One relation, stated by the entry of the later paper."""

    later: str
    earlier: str
    how: str


@dataclass(frozen=True)
class Node:
    """One paper, in the catalog or outside it."""

    id: str
    name: str
    title: str
    year: int
    month: float
    """Month of the year, from 0; the middle of the year if only the year is known."""
    outside: Outside | None = None
    more: bool = False
    """Whether this node represents the papers that are not drawn."""

    @property
    def label(self) -> str:
        """The name, shortened to fit its box."""
        return (
            self.name
            if len(self.name) <= MAX_LETTERS
            else self.name[: MAX_LETTERS - 1].rstrip() + "…"
        )

    @property
    def width(self) -> int:
        """The width of its box in pixels."""
        return max(HEIGHT, round(LETTER * len(self.label)) + 18)


@dataclass(frozen=True)
class Box:
    """A node with the top left corner of its box, in pixels."""

    node: Node
    x: int
    y: int

    @property
    def right(self) -> int:
        """The right edge."""
        return self.x + self.node.width

    @property
    def centre(self) -> tuple[int, int]:
        """The centre."""
        return self.x + self.node.width // 2, self.y + HEIGHT // 2


@dataclass(frozen=True)
class Graph:
    """Related papers, by date, and their relations."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    @cached_property
    def by_id(self) -> Mapping[str, Node]:
        """Every paper by its id, by date."""
        return {node.id: node for node in self.nodes}

    @cached_property
    def earlier(self) -> Mapping[str, list[Edge]]:
        """For each paper, its relations with earlier papers."""
        return _grouped((edge.later, edge) for edge in self.edges)

    @cached_property
    def later(self) -> Mapping[str, list[Edge]]:
        """For each paper, its relations with later papers."""
        return _grouped((edge.earlier, edge) for edge in self.edges)

    @cached_property
    def lineage(self) -> Graph:
        """The same graph without comparisons."""
        edges = tuple(edge for edge in self.edges if edge.how in DRAWN)
        ends = {end for edge in edges for end in (edge.later, edge.earlier)}
        return Graph(tuple(node for node in self.nodes if node.id in ends), edges)


@dataclass(frozen=True)
class Drawing:
    """A graph with its layout, in pixels."""

    width: int
    height: int
    boxes: Mapping[str, Box]
    """By id, by date."""
    edges: tuple[tuple[Edge, str], ...]
    """Each relation with its SVG path."""


def graph(atlas: Atlas) -> Graph:
    """Collect the relations of the catalog; entries without a year are left out."""
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


def around(whole: Graph, slug: str) -> Drawing | None:
    """Draw the papers related to one paper; None if it has no relation.

    Each side shows every paper that builds on the next or extends it, then as many comparisons as
    `MAX_DIRECT` permits, and one box for the others. The second generation is drawn only if all of
    it fits into `MAX_PAPERS`.
    """
    if slug not in whole.by_id:
        return None
    near = {slug: whole.by_id[slug]}
    lines: list[Edge] = []
    for end, related in (("earlier", whole.earlier), ("later", whole.later)):
        own = sorted(related.get(slug, ()), key=lambda edge: _rank(edge, end, whole))
        builders = sum(edge.how in DRAWN for edge in own)
        shown = own[: max(builders, MAX_DIRECT)]
        lines += [edge for edge in shown if edge.how not in DRAWN]
        first = _ends(shown, end)
        parents = _ends((edge for edge in shown if edge.how in DRAWN), end)
        behind = getattr(whole.lineage, end)
        second = _ends((edge for one in parents for edge in behind.get(one, ())), end)
        fits = len({*first, *second}) <= MAX_PAPERS
        near |= {id_: whole.by_id[id_] for id_ in first + second * fits}
        if rest := len(own) - len(shown):
            name = f"{rest} more comparison{'s' * (rest > 1)}"
            more = Node(f"more-{end}", name, "", 0, 0, more=True)
            near[more.id] = more
            pair = (slug, more.id) if end == "earlier" else (more.id, slug)
            lines.append(Edge(*pair, "more"))
    lines += [edge for edge in whole.lineage.edges if {edge.later, edge.earlier} <= near.keys()]
    nodes = [node for node in whole.nodes if node.id in near]
    nodes += [node for node in near.values() if node.more]
    return draw(nodes, lines)


def _rank(edge: Edge, end: str, whole: Graph) -> tuple[bool, int, int]:
    """Sort relations: comparisons last, then by number of papers that build on it, then by year."""
    other = getattr(edge, end)
    return edge.how not in DRAWN, -len(whole.lineage.later.get(other, ())), -whole.by_id[other].year


def _ends(edges: Iterable[Edge], end: str) -> list[str]:
    return [getattr(edge, end) for edge in edges]


def draw(nodes: Sequence[Node], edges: Sequence[Edge]) -> Drawing:
    """Lay out a graph with earlier papers on the left."""
    graph = AGraph(directed=True, rankdir="LR", nodesep=10 / INCH, ranksep=44 / INCH)
    graph.node_attr.update(shape="box", label="", fixedsize="true", height=HEIGHT / INCH)
    graph.edge_attr.update(dir="none", headport="w", tailport="e")
    # Graphviz gets numbers, because it reads some characters in the ids of papers as markup.
    numbers = {node.id: str(number) for number, node in enumerate(nodes)}
    for node in nodes:
        graph.add_node(numbers[node.id], width=node.width / INCH)
    for edge in edges:
        graph.add_edge(numbers[edge.earlier], numbers[edge.later])
    graph.layout("dot")
    # Graphviz counts from the bottom. Counted from the top, the first boxes come out on top.
    boxes = {}
    for node in nodes:
        ((x, y),) = _points(graph.get_node(numbers[node.id]).attr["pos"])
        boxes[node.id] = Box(node, x - node.width // 2, y - HEIGHT // 2)
    paths = []
    for edge in edges:
        line = graph.get_edge(numbers[edge.earlier], numbers[edge.later])
        start, *curve = (f"{x} {y}" for x, y in _points(line.attr["pos"]))
        paths.append((edge, f"M{start}C{' '.join(curve)}"))
    # Rounding moves the edge of a box by up to a pixel.
    *_, width, height = map(float, graph.graph_attr["bb"].split(","))
    return Drawing(round(width) + 1, round(height) + 1, boxes, tuple(paths))


def _points(text: str) -> list[tuple[int, int]]:
    """Read points such as `27,18 63,18` in pixels."""
    return [(round(float(x)), round(float(y))) for x, y in (p.split(",") for p in text.split())]


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
