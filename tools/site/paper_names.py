"""Short names of papers: the name of the method, or authors and year; no two are equal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tools.catalog.schema.paper import Paper


def short_names(papers: Mapping[str, Paper]) -> dict[str, str]:
    """Return a name for each paper, by slug; of equal names, each gets its year or first author."""
    names = {slug: paper.name or citation(paper) for slug, paper in papers.items()}
    given = dict(names)
    for detail in (_year, _author_and_year, _slug):
        counts = Counter(name.casefold() for name in names.values())
        for slug, name in names.items():
            if counts[name.casefold()] > 1:
                names[slug] = f"{given[slug]} ({detail(slug, papers[slug])})"
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


def _year(_: str, paper: Paper) -> str:
    return str(paper.year)


def _author_and_year(_: str, paper: Paper) -> str:
    return f"{paper.authors[0].split()[-1]} {paper.year}" if paper.authors else "baseline"


def _slug(slug: str, _: Paper) -> str:
    return slug
