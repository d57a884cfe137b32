"""Every word of the vocabulary with the papers that it is said of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from tools.catalog.schema.paper import Paper
from tools.catalog.schema.vocabulary import Term, vocabulary
from tools.site.facts import FACETS, words_of
from tools.site.words import source, word_page

LABELS = {**dict(FACETS), "kind": "Kind", "venues": "Venue"}
"""Fields by which the catalog sorts, and what they are called; each of their words has a page."""
QUERIES = {field: field for field in LABELS} | {"venues": "venue"}
"""What the catalog's address calls them."""


@dataclass(frozen=True)
class Entry:
    """A word of the vocabulary with its papers."""

    field: str
    term: Term
    slugs: tuple[str, ...]

    @property
    def anchor(self) -> str:
        """Where it stands in the list of all words."""
        return f"{self.field}-{self.term.word}"

    @property
    def title(self) -> str:
        """How to write it above a page."""
        label = self.term.label
        return label if label != label.lower() else label.replace("-", " ").capitalize()

    @property
    def kind(self) -> str:
        """What it is a word of: `Criterion`."""
        return LABELS.get(self.field, self.field.capitalize())

    @property
    def page(self) -> str:
        """Where its page is; empty where it has none."""
        return word_page(self.field, self.term.word) if self.field in LABELS else ""

    @property
    def source(self) -> str:
        """The page as Markdown links to it."""
        return source(self.page)

    @property
    def address(self) -> str:
        """The catalog filtered by it; empty where that has no such filter."""
        query = QUERIES.get(self.field)
        return f"catalog.html?{query}={self.term.word}" if query and self.slugs else ""


def glossary(papers: Mapping[str, Paper]) -> dict[str, list[Entry]]:
    """List every word of every vocabulary, by field, with the papers it is said of."""
    said = _said(papers)
    return {
        field: [Entry(field, term, tuple(said[field, word])) for word, term in words.terms.items()]
        for field, words in vocabulary().items()
    }


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
