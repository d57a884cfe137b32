"""The home page: an introduction to the atlas, links to start with, and the best methods."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from implementations.harness.results.ranking import TRAINS
from tools.site.answers import Answer, Question, Ranking, first_ranking
from tools.site.atlas import Atlas
from tools.site.paper_facts import newest_first
from tools.site.recovery_results import recovery_results
from tools.site.render import Front, render
from tools.site.replication import Tally, all_comparisons

QUESTIONS = (
    Question("20", structured=True),
    Question("50", structured=False),
    Question("20", structured=True, kind=TRAINS),
)
"""The questions whose best methods are shown."""
SHOWN = 5
FRONT = Front(
    "index.md",
    "Pruning Atlas",
    "Papers on LLM pruning, and implementations tested and measured on one benchmark.",
    styles=("css/home.css",),
    sources=("CITATION.cff", "implementations"),
)


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the home page."""
    papers = [slug for slug, paper in atlas.papers.items() if paper.has_paper]
    latest = newest_first(papers, atlas.papers)
    citation = cite(atlas.root, atlas.repository or atlas.site)
    ranking = first_ranking(atlas)
    text = render(
        "index",
        FRONT,
        atlas,
        panels=list(panels(ranking)) if ranking else [],
        board=ranking.board if ranking else None,
        recovery=bool(recovery_results(atlas)),
        orders=Tally.of(all_comparisons(atlas)),
        latest=latest[:6],
        citation=citation,
    )
    yield FRONT.path, text


@dataclass(frozen=True)
class Panel:
    """The best methods for one question, for a small chart."""

    question: Question
    answers: list[Answer]
    largest: float
    """The largest ratio to dense of all panels, where their shared scale ends."""

    def width(self, answer: Answer) -> float:
        """Return the length of a bar in percent: the loss above dense, on the shared scale."""
        above = max((answer.ratio or 1) - 1, 0)
        return 100 * above / (self.largest - 1) if self.largest > 1 else 0.0


def panels(ranking: Ranking) -> Iterator[Panel]:
    """Yield the best `SHOWN` methods for each of `QUESTIONS` that was measured."""
    shown = {
        question: [answer for answer in ranking.best(question) if answer.rank][:SHOWN]
        for question in QUESTIONS
    }
    largest = max((one.ratio or 1 for answers in shown.values() for one in answers), default=1)
    for question, answers in shown.items():
        if answers:
            yield Panel(question, answers, largest)


@dataclass(frozen=True)
class Citation:
    """How to cite the atlas itself."""

    message: str
    bibtex: str


def cite(root: Path, address: str) -> Citation:
    """Read the citation of the atlas from `CITATION.cff` in the checkout `root`."""
    data = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    authors = " and ".join(f"{{{author['name']}}}" for author in data["authors"])
    fields = {
        "title": f"{{{data['title']}}}",
        "author": authors,
        "year": data["date-released"][:4],
        "version": str(data["version"]),
        "license": data["license"],
    }
    if address:
        fields["url"] = address
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return Citation(data["message"], "\n".join(["@software{pruningatlas,", *lines, "}"]))
