"""The lineage: what builds on what, around one paper, in a list, and as a whole over time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tools.site import lineage
from tools.site.atlas import Atlas
from tools.site.lineage import Graph, Node
from tools.site.pages.paper import INVERSE, RELATIONS
from tools.site.render import Front, render

FRONT = Front(
    "lineage.md",
    "Lineage",
    "What builds on what among the papers on pruning language models.",
    styles=("css/controls.css", "css/lineage.css"),
    scripts=("js/lineage.js",),
    sources=("catalog/papers",),
)
WHOLE = replace(
    FRONT,
    path="lineage/whole.md",
    title="The whole lineage",
    description="Every paper that builds on another or is built on, over time.",
    styles=("css/lineage.css", "css/landscape.css"),
    scripts=("js/lineage-whole.js",),
    searched=False,
)


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the lineage around one paper, and as a whole where there is one."""
    found = lineage.graph(atlas)
    said = {node.id: list(_said(node, found)) for node in found.nodes}
    choices = sorted(
        (node.id for node in found.nodes if not node.outside),
        key=lambda slug: atlas.names[slug].casefold(),
    )
    first = max(choices, key=lambda slug: len(found.lineage.later.get(slug, ())), default="")
    yield (
        FRONT.path,
        render(
            "lineage",
            FRONT,
            atlas,
            nodes=found.by_id,
            said=said,
            choices=choices,
            first=first,
            around=lineage.around(found, first),
            whole=bool(found.lineage.nodes),
            alone=[slug for slug in atlas.papers if slug not in found.by_id],
        ),
    )
    if found.lineage.nodes:
        drawing = lineage.draw(found.lineage)
        more = {"drawing": drawing, "nodes": found.by_id, "said": said}
        yield WHOLE.path, render("lineage-whole", WHOLE, atlas, **more)


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
