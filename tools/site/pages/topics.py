"""Topics: what is studied about pruning, a page for each with its works and what they look at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tools.catalog.schema.paper import Paper
from tools.catalog.schema.vocabulary import Term, vocabulary
from tools.site.atlas import Atlas
from tools.site.facts import first_public, words_of
from tools.site.render import Front, render

STUDIES = frozenset({"analysis", "benchmark", "theory"})
"""Kinds of work that look at what others made."""
FRONT = Front(
    "topics.md",
    "Topics",
    "What is studied about pruning: calibration text, safety, reasoning, evaluation and more.",
    menu="Read / Topics",
    styles=("css/learn.css", "css/read.css"),
    sources=("catalog/papers", "catalog/vocabulary/topic.yaml"),
)


@dataclass(frozen=True)
class Topic:
    """A topic with its works, newest first, and what they look at, most looked at first."""

    term: Term
    slugs: tuple[str, ...]
    studied: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def title(self) -> str:
        """How to write it above a page."""
        return self.term.label.replace("-", " ").capitalize()

    @property
    def page(self) -> str:
        """Where its page is."""
        return f"topics/{self.term.word}.html"


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the overview and a page for each topic that a work has."""
    found = topics(atlas.papers)
    studies = [slug for slug, paper in atlas.papers.items() if paper.kind in STUDIES]
    other = [slug for slug in studies if not words_of(atlas.papers[slug], "topic")]
    text = render(
        "topics",
        FRONT,
        atlas,
        topics=found,
        studied=looked_at(studies, atlas.papers),
        studies=studies,
        others=_newest(other, atlas.papers),
    )
    yield FRONT.path, text
    for topic in found:
        if topic.slugs:
            yield f"topics/{topic.term.word}.md", _page(topic, found, atlas)


def topics(papers: Mapping[str, Paper]) -> list[Topic]:
    """List the topics in the order of the vocabulary, also those that no work has."""
    made = []
    for word, term in vocabulary()["topic"].terms.items():
        slugs = [slug for slug, paper in papers.items() if word in words_of(paper, "topic")]
        made.append(Topic(term, _newest(slugs, papers), looked_at(slugs, papers)))
    return made


def looked_at(
    slugs: list[str], papers: Mapping[str, Paper]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Collect which papers of the catalog some works have to do with, each with those works."""
    found: dict[str, list[str]] = defaultdict(list)
    for slug in slugs:
        for other in related(papers[slug]):
            if other in papers:
                found[other].append(slug)
    order = sorted(found, key=lambda other: (-len(found[other]), other))
    return tuple((other, tuple(found[other])) for other in order)


def related(paper: Paper) -> list[str]:
    """List the papers that one names in its relations, each once."""
    return list(dict.fromkeys(other for _, other in paper.relations if isinstance(other, str)))


def _newest(slugs: list[str], papers: Mapping[str, Paper]) -> tuple[str, ...]:
    return tuple(sorted(slugs, key=lambda slug: first_public(papers[slug]), reverse=True))


def _page(topic: Topic, found: list[Topic], atlas: Atlas) -> str:
    front = Front(
        f"topics/{topic.term.word}.md",
        topic.title,
        topic.term.definition,
        styles=FRONT.styles,
        sources=FRONT.sources,
    )
    beside = {one.term.word: one for one in found}
    return render("topic", front, atlas, topic=topic, topics=beside, related=related)
