"""The words by which the catalog sorts papers, each with the papers that have it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from tools.catalog.schema.paper import Paper
from tools.catalog.schema.vocabulary import Term, vocabulary
from tools.site.addresses import glossary_address
from tools.site.paper_facts import FACETS, words_of

LABELS = {**dict(FACETS), "kind": "Kind"}
"""Vocabulary fields in the glossary, each with its label."""


@dataclass(frozen=True)
class Entry:
    """A word of the vocabulary with its papers."""

    field: str
    term: Term
    slugs: tuple[str, ...]

    @property
    def anchor(self) -> str:
        """Its anchor in the glossary."""
        return glossary_address(self.field, self.term.word).partition("#")[2]

    @property
    def catalog(self) -> str:
        """Address of the catalog filtered by this word; empty if no paper has it."""
        return f"catalog.html?{self.field}={self.term.word}" if self.slugs else ""


def glossary(papers: Mapping[str, Paper]) -> dict[str, list[Entry]]:
    """List the words of each field in the order of the vocabulary."""
    slugs: dict[tuple[str, str], list[str]] = defaultdict(list)
    for slug, paper in papers.items():
        slugs["kind", paper.kind].append(slug)
        for field, _ in FACETS:
            for word in words_of(paper, field):
                slugs[field, word].append(slug)
    return {
        field: [
            Entry(field, term, tuple(slugs[field, word]))
            for word, term in vocabulary()[field].terms.items()
        ]
        for field in LABELS
    }
