"""The timeline: every paper by the day it was first public, and what was new in each year."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from tools.catalog.exports.awesome_list import date
from tools.catalog.schema.paper import Paper
from tools.site import figures, firsts
from tools.site.atlas import Atlas
from tools.site.facts import first_public
from tools.site.firsts import Line
from tools.site.render import Front, render

FRONT = Front(
    "timeline.md",
    "Timeline",
    "Papers on pruning by the day they were first public, and what was new in each year.",
    styles=("css/learn.css", "css/read.css"),
    sources=("catalog/papers", "catalog/vocabulary"),
    searched=False,
)


@dataclass(frozen=True)
class Year:
    """The papers of a year in order of time, and the words that none before had."""

    year: int
    slugs: list[str]
    new: list[Line]


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the page."""
    words = firsts.lines(atlas.papers)
    text = render(
        "timeline",
        FRONT,
        atlas,
        years=years(atlas.papers, words),
        words=words,
        drawn=firsts.drawn,
        figures=figures,
        day=day,
    )
    yield FRONT.path, text


def years(papers: Mapping[str, Paper], words: list[Line]) -> list[Year]:
    """Sort the papers into the years in which they were first public, the earliest first."""
    dated = sorted(slug for slug, paper in papers.items() if paper.has_paper)
    dated.sort(key=lambda slug: first_public(papers[slug]))
    return [
        Year(year, list(slugs), [line for line in words if line.first == year])
        for year, slugs in groupby(dated, key=lambda slug: first_public(papers[slug])[0])
    ]


def day(paper: Paper) -> str:
    """Write month and day of a paper, as far as they are known: `03-15`, `03`."""
    return date(paper)[5:]
