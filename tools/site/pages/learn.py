"""Learn: pruning from the ground up, pictures of real runs, the glossary."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from implementations.harness.results.record import Record
from tools.catalog.schema.paper import Paper
from tools.catalog.schema.vocabulary import Term, vocabulary
from tools.site import figures
from tools.site.atlas import Atlas
from tools.site.chart import drawn
from tools.site.facts import words_of
from tools.site.looks import SHARE, looks
from tools.site.pages.paper import FACETS
from tools.site.render import Front, render

QUERIES = {"venues": "venue", "kind": "kind", **{field: field for field, _ in FACETS}}
"""What the catalog's address calls each field of the vocabulary that it filters by."""

WITHIN = 2
"""Largest ratio to dense at which a gain in speed is worth telling."""
FRONT = Front(
    "learn.md",
    "Learn",
    "Pruning of large language models from the ground up, with pictures of real runs.",
    menu="Learn / Basics",
    styles=("css/learn.css",),
    sources=("docs/templates/pages/learn.md", "catalog/vocabulary"),
    toc=True,
)


@dataclass(frozen=True)
class Entry:
    """A word of the glossary with the papers that it describes."""

    field: str
    term: Term
    slugs: tuple[str, ...]

    @property
    def anchor(self) -> str:
        """Where it stands on the page."""
        return f"{self.field}-{self.term.word}"

    @property
    def address(self) -> str:
        """The catalog filtered by it; empty where that has no such filter."""
        query = QUERIES.get(self.field)
        return f"catalog.html?{query}={self.term.word}" if query and self.slugs else ""


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the page."""
    words = glossary(atlas)
    yield (
        FRONT.path,
        render(
            "learn",
            FRONT,
            atlas,
            words=words,
            word={entry.anchor: entry for entries in words.values() for entry in entries},
            board=drawn(atlas.boards[0], atlas.names) if atlas.boards else None,
            looks=looks(atlas.boards[0], atlas.papers) if atlas.boards else [],
            leading=atlas.boards[0] if atlas.boards else None,
            share=SHARE,
            masks=figures.picture("masks", atlas.root),
            blocks=figures.picture("blocks", atlas.root),
            figures=figures,
            samples=samples(atlas),
            fastest=fastest(atlas),
            ratio=ratio,
            within=WITHIN,
        ),
    )


def glossary(atlas: Atlas) -> dict[str, list[Entry]]:
    """List every word of every vocabulary, by field, with the papers it is said of."""
    said: Mapping[tuple[str, str], list[str]] = _said(atlas.papers)
    return {
        field: [Entry(field, term, tuple(said[field, word])) for word, term in words.terms.items()]
        for field, words in vocabulary().items()
    }


def samples(atlas: Atlas) -> list[Record]:
    """Choose runs whose text shows the way down: dense, then ever larger ratios to dense."""
    first = [r for r in atlas.records if r.protocol.name == "smol" and ranked(r)]
    pruned = sorted((r for r in first if r.method != "dense"), key=ratio)
    dense = [record for record in first if record.method == "dense"]
    if len(pruned) < 3:
        return dense[:1] + pruned
    return [*dense[:1], pruned[0], pruned[len(pruned) // 2], pruned[-1]]


def fastest(atlas: Atlas) -> Record | None:
    """Return the run with the largest measured gain in decoding that lost little."""
    timed = [r for r in atlas.records if r.speed.decode and ranked(r) and ratio(r) <= WITHIN]
    return max(timed, key=lambda r: r.speed.decode.ratio if r.speed.decode else 0, default=None)


def ranked(record: Record) -> bool:
    """Whether it has what ranks on its board; what only follows prompts has not."""
    return record.protocol.metrics[0] in record.values


def ratio(record: Record) -> float:
    """Perplexity over dense, by the protocol's first metric."""
    metric = record.protocol.metrics[0]
    return record.values[metric] / record.dense.values[metric]


def _said(papers: Mapping[str, Paper]) -> dict[tuple[str, str], list[str]]:
    """Collect the papers of each word, by field and word."""
    said: dict[tuple[str, str], list[str]] = defaultdict(list)
    for slug, paper in papers.items():
        words = {("kind", paper.kind)}
        words |= {("status", paper.status or ""), ("venues", paper.venue or "")}
        if paper.is_method:
            words.add(("role", paper.role or "standalone"))
        for claim in paper.claims or ():
            if claim.metric.startswith("mean/"):
                words.add(("suites", claim.metric.removeprefix("mean/")))
        for field, _ in FACETS:
            words |= {(field, word) for word in words_of(paper, field)}
        for one in sorted(words):
            said[one].append(slug)
    return said
