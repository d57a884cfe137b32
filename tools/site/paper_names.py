"""Short names of papers: the name of the method, or authors and year; no two are equal."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from string import ascii_lowercase

from tools.catalog.schema.paper import Paper


def short_names(papers: Mapping[str, Paper]) -> dict[str, str]:
    """Return a name for each paper, by slug.

    Equal names of methods get the year, and the first author if necessary: `ATP (Lu 2024)`. Names
    that are still equal get a letter, in the order of the slugs: `Kim et al. 2026a`.
    """
    names = {slug: paper.name or citation(paper) for slug, paper in papers.items()}
    for detail in (_year, _author_and_year):
        for slug in _equal(names):
            if name := papers[slug].name:
                names[slug] = f"{name} ({detail(papers[slug])})"
    letters: dict[str, Iterator[str]] = defaultdict(lambda: iter(ascii_lowercase))
    for slug in sorted(_equal(names)):
        name = names[slug]
        letter = next(letters[name.casefold()])
        names[slug] = f"{name[:-1]}{letter})" if name.endswith(")") else name + letter
    return names


def citation(paper: Paper) -> str:
    """Write authors and year: `Boža 2024`, `Frankle and Carbin 2019`, `Kwon et al. 2022`.

    A baseline without a paper has only its title.
    """
    if not paper.authors:
        return paper.title
    family, *others = (author.split()[-1] for author in paper.authors)
    shown = f"{family} et al." if len(others) > 1 else " and ".join([family, *others])
    return f"{shown} {paper.year}"


def _equal(names: Mapping[str, str]) -> list[str]:
    """Return the slugs whose name another one has as well."""
    counts = Counter(name.casefold() for name in names.values())
    return [slug for slug, name in names.items() if counts[name.casefold()] > 1]


def _year(paper: Paper) -> str:
    return str(paper.year)


def _author_and_year(paper: Paper) -> str:
    return f"{paper.authors[0].split()[-1]} {paper.year}" if paper.authors else "baseline"
