"""What works of the catalog look at: the papers that they test, extend or argue with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from tools.catalog.schema.paper import Paper
from tools.site.facts import first_public

STUDIES = frozenset({"analysis", "benchmark", "theory"})
"""Kinds of work that look at what others made."""


def looked_at(
    slugs: Iterable[str], papers: Mapping[str, Paper]
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


def newest(slugs: Iterable[str], papers: Mapping[str, Paper]) -> tuple[str, ...]:
    """Order papers by when they were first public, the last one first."""
    return tuple(sorted(slugs, key=lambda slug: first_public(papers[slug]), reverse=True))
