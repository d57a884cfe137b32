"""Search terms of a paper in addition to the text of its page."""

from __future__ import annotations

from collections.abc import Iterator

from tools.catalog.schema.paper import Paper
from tools.catalog.schema.vocabulary import UNKNOWN, vocabulary
from tools.site.paper_facts import FACETS, words_of


def names(paper: Paper) -> list[str]:
    """List the identifiers of a paper and its other names."""
    identifiers = (value for _, value in paper.ids)
    return [*identifiers, *(paper.aliases or ()), *(paper.other_titles or ())]


def keywords(paper: Paper) -> list[str]:
    """List the names of a paper and its words of the vocabulary, each with its synonyms."""
    found = names(paper)
    for field, word in _words(paper):
        term = vocabulary()[field].terms.get(word)
        found += [term.label, *term.synonyms] if term else [word]
        found += [term.definition] if term and field == "venues" else []
    return found


def _words(paper: Paper) -> Iterator[tuple[str, str]]:
    """Yield field and word of a paper's properties, without the depth of reading."""
    for field, _ in FACETS:
        if field != "read":
            yield from ((field, word) for word in words_of(paper, field) if word != UNKNOWN)
    yield "kind", paper.kind
    yield from (("models", model) for model in paper.models or ())
    if paper.venue:
        yield "venues", paper.venue
