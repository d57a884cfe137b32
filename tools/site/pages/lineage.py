"""The lineage: a graph over time of what builds on what, and the same as a list."""

from __future__ import annotations

from collections.abc import Iterator

from tools.site import lineage
from tools.site.atlas import Atlas
from tools.site.lineage import Graph, Node
from tools.site.pages.paper import INVERSE, RELATIONS
from tools.site.render import Front, render

FRONT = Front(
    "lineage.md",
    "Lineage",
    "What builds on what among the papers on pruning language models, over time.",
    menu="Read / Lineage",
    styles=("css/controls.css", "css/lineage.css"),
    scripts=("js/lineage.js",),
    sources=("catalog/papers",),
)


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the lineage."""
    found = lineage.graph(atlas)
    nodes = {node.id: node for node in found.nodes}
    yield (
        FRONT.path,
        render(
            "lineage",
            FRONT,
            atlas,
            drawing=lineage.draw(found),
            nodes=nodes,
            said={node.id: list(_said(node, found)) for node in found.nodes},
            drawn=lineage.DRAWN,
            alone=[slug for slug in atlas.papers if slug not in nodes],
        ),
    )


def _said(node: Node, found: Graph) -> Iterator[tuple[str, bool, list[str]]]:
    """Yield each relation of a paper in words, whether it is lineage, and with which papers."""
    for words, edges, end in (
        (RELATIONS, found.earlier.get(node.id, ()), "earlier"),
        (INVERSE, found.later.get(node.id, ()), "later"),
    ):
        for how, written in words.items():
            others = [getattr(edge, end) for edge in edges if edge.how == how]
            if others:
                yield written, how in lineage.DRAWN, others
