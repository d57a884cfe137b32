"""Two entries of one paper: the same identifier, or titles that people would take for one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rapidfuzz import fuzz, process

from tools.catalog.documents.diagnostics import Level, Problem
from tools.catalog.entries.loader import Catalog
from tools.catalog.schema.identifiers import SCHEMES
from tools.catalog.schema.paper import Paper
from tools.catalog.schema.vocabulary import fold

ALIKE = 92
"""Per cent of two titles' letters in common from which on they may be one title."""


def duplicates(paper: Paper, among: Mapping[str, Paper]) -> list[tuple[str, str]]:
    """Return slug and reason of each entry that seems to be the same paper."""
    return Known(among).same_as(paper)


class Known:
    """Papers by slug, made ready once for many others to be looked for among them."""

    def __init__(self, papers: Mapping[str, Paper]) -> None:
        self._titles = _Titles(papers)
        self._ids: dict[tuple[str, str], list[str]] = {}
        for slug, paper in papers.items():
            for own in paper.ids:
                self._ids.setdefault(own, []).append(slug)

    def same_as(self, paper: Paper) -> list[tuple[str, str]]:
        """Return slug and reason of each that seems to be the same paper."""
        found = [
            (slug, f"has the same {SCHEMES[scheme].label} identifier, {value}")
            for scheme, value in paper.ids
            for slug in self._ids.get((scheme, value), ())
        ]
        taken = {slug for slug, _ in found}
        found += [(slug, reason) for slug, reason in self._titles.like(paper) if slug not in taken]
        return found


def same(catalog: Catalog) -> Iterator[Problem]:
    """No two entries are one paper, nor share a name that must be their own."""
    owners: dict[tuple[str, str], str] = {}
    for slug, entry in catalog.entries.items():
        own: list[tuple[tuple[str, ...], str]] = [
            (("ids", scheme), value) for scheme, value in entry.paper.ids
        ]
        own += [(("bibkey",), entry.paper.bibkey)] if entry.paper.bibkey else []
        for loc, value in own:
            other = owners.setdefault((loc[-1], value), slug)
            if other != slug:
                advice = "one paper has one entry; correct it or remove one of the two"
                message = f"{value} is that of {other} too"
                yield entry.problem(*loc, message=message, advice=advice)


def titles(catalog: Catalog) -> Iterator[Problem]:
    """No two entries have one title."""
    for one, other, reason, equal in _Titles(catalog.papers).pairs():
        yield catalog.entries[other].problem(
            "title",
            message=f"{one} {reason}",
            advice="one paper has one entry; remove one of the two"
            if equal
            else "make sure that they are two papers",
            level=Level.ERROR if equal else Level.WARNING,
        )


class _Titles:
    """Titles in one spelling, and their subtitles, to which papers are often shortened."""

    def __init__(self, papers: Mapping[str, Paper]) -> None:
        self.papers = papers
        spelt = [(title, slug) for slug in papers for title in sorted(_spellings(papers[slug]))]
        self.titles = [title for title, _ in spelt]
        self.slugs = [slug for _, slug in spelt]

    def like(self, paper: Paper) -> Iterator[tuple[str, str]]:
        """Yield slug and reason of each paper with the same or nearly the same title."""
        best: dict[str, float] = {}
        for title in _spellings(paper):
            for slug, score in self._after(0, title):
                best[slug] = max(best.get(slug, 0), score)
        for slug, score in best.items():
            yield slug, self._reason(slug, score)

    def pairs(self) -> Iterator[tuple[str, str, str, bool]]:
        """Yield two papers of like titles, the earlier first, why, and if they are equal."""
        best: dict[tuple[str, str], float] = {}
        for index, title in enumerate(self.titles):
            one = self.slugs[index]
            for other, score in self._after(index + 1, title):
                if one != other:
                    best[one, other] = max(best.get((one, other), 0), score)
        for (one, other), score in best.items():
            yield one, other, self._reason(one, score), score == 100

    def _after(self, start: int, title: str) -> Iterator[tuple[str, float]]:
        """Compare a title with those from an index on."""
        for _, score, index in process.extract(
            title, self.titles[start:], scorer=fuzz.ratio, score_cutoff=ALIKE, limit=None
        ):
            yield self.slugs[start + index], score

    def _reason(self, slug: str, score: float) -> str:
        how = "the same title" if score == 100 else "nearly the same title"
        return f"has {how}, '{self.papers[slug].title}'"


def _spellings(paper: Paper) -> set[str]:
    """Return the titles, and what follows a name and a colon if it is long enough to tell."""
    titles = (paper.title, *(paper.other_titles or ()))
    rest = (title.partition(": ")[2] for title in titles)
    spelt = (paper.title, *(one for one in (*titles, *rest) if len(one.split()) > 3))
    return {fold(one.replace(":", " ")) for one in spelt}
