"""The home page: an introduction to the atlas, links to start with, and the first chart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from tools.site.atlas import REPOSITORY, Atlas
from tools.site.chart import board_charts
from tools.site.paper_facts import newest_first
from tools.site.render import Front, render

FRONT = Front(
    "index.md",
    "Pruning Atlas",
    "Papers on LLM pruning, and implementations tested and measured on one benchmark.",
    sources=("CITATION.cff", "implementations"),
)


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the home page."""
    papers = [slug for slug, paper in atlas.papers.items() if paper.has_paper]
    latest = newest_first(papers, atlas.papers)
    citation = cite(atlas.repository)
    board = board_charts(atlas.boards[0], atlas.names) if atlas.boards else None
    yield (
        FRONT.path,
        render("index", FRONT, atlas, board=board, latest=latest[:6], citation=citation),
    )


@dataclass(frozen=True)
class Citation:
    """How to cite the atlas itself."""

    message: str
    bibtex: str


def cite(address: str) -> Citation:
    """Read the citation of the atlas from `CITATION.cff`."""
    data = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    authors = " and ".join(f"{{{author['name']}}}" for author in data["authors"])
    fields = {
        "title": f"{{{data['title']}}}",
        "author": authors,
        "version": str(data["version"]),
        "license": data["license"],
    }
    if address:
        fields["url"] = address
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return Citation(data["message"], "\n".join(["@software{pruningatlas,", *lines, "}"]))
