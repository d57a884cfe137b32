"""Duplicate entries: the same identifier, or similar titles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rapidfuzz import fuzz, process

from tools.catalog.documents.diagnostics import Level, Problem
from tools.catalog.entries.loader import Catalog
from tools.catalog.schema.identifiers import SCHEMES
from tools.catalog.schema.paper import Paper
from tools.catalog.schema.vocabulary import fold

SIMILAR = 92
"""Similarity of two titles, out of 100, from which they may belong to one paper."""


class Known:
    """An index of papers by identifier, normalised title and subtitle."""

    def __init__(self, papers: Mapping[str, Paper]) -> None:
        self._papers = papers
        pairs = [(title, slug) for slug in papers for title in sorted(_spellings(papers[slug]))]
        self._titles = [title for title, _ in pairs]
        self._slugs = [slug for _, slug in pairs]
        self._ids: dict[tuple[str, str], list[str]] = {}
        for slug, paper in papers.items():
            for own in paper.ids:
                self._ids.setdefault(own, []).append(slug)

    def same_as(self, paper: Paper) -> list[tuple[str, str]]:
        """Return slug and reason of each indexed paper that seems to be the same."""
        found = [
            (slug, f"has the same {SCHEMES[scheme].label} identifier, {value}")
            for scheme, value in paper.ids
            for slug in self._ids.get((scheme, value), ())
        ]
        by_id = {slug for slug, _ in found}
        best: dict[str, float] = {}
        for title in _spellings(paper):
            for slug, score in self._similar(title):
                best[slug] = max(best.get(slug, 0), score)
        by_title = ((slug, self._reason(slug, score)) for slug, score in best.items())
        return [*found, *((slug, reason) for slug, reason in by_title if slug not in by_id)]

    def pairs(self) -> Iterator[tuple[str, str, str, bool]]:
        """Yield two papers with similar titles, the reason, and whether the titles are equal."""
        best: dict[tuple[str, str], float] = {}
        for index, title in enumerate(self._titles):
            one = self._slugs[index]
            for other, score in self._similar(title, index + 1):
                if one != other:
                    best[one, other] = max(best.get((one, other), 0), score)
        for (one, other), score in best.items():
            yield one, other, self._reason(one, score), score == 100

    def _similar(self, title: str, start: int = 0) -> Iterator[tuple[str, float]]:
        """Yield slug and similarity of the titles from an index on that are similar enough."""
        for _, score, index in process.extract(
            title, self._titles[start:], scorer=fuzz.ratio, score_cutoff=SIMILAR, limit=None
        ):
            yield self._slugs[start + index], score

    def _reason(self, slug: str, score: float) -> str:
        how = "the same title" if score == 100 else "nearly the same title"
        return f"has {how}, '{self._papers[slug].title}'"


def shared_identifiers(catalog: Catalog) -> Iterator[Problem]:
    """Find identifiers and BibTeX keys that two entries have."""
    owners: dict[tuple[str, str], str] = {}
    for slug, entry in catalog.entries.items():
        own: list[tuple[tuple[str, ...], str]] = [
            (("ids", scheme), value) for scheme, value in entry.paper.ids
        ]
        own += [(("bibkey",), entry.paper.bibkey)] if entry.paper.bibkey else []
        for loc, value in own:
            other = owners.setdefault((loc[-1], value), slug)
            if other != slug:
                advice = "correct it, or remove one of the two entries"
                message = f"{value} is also in {other}"
                yield entry.problem(*loc, message=message, advice=advice)


def similar_titles(catalog: Catalog) -> Iterator[Problem]:
    """Find equal and similar titles of two entries."""
    for one, other, reason, equal in Known(catalog.papers).pairs():
        yield catalog.entries[other].problem(
            "title",
            message=f"{one} {reason}",
            advice="remove one of the two entries"
            if equal
            else "make sure that they are different papers",
            level=Level.ERROR if equal else Level.WARNING,
        )


def _spellings(paper: Paper) -> set[str]:
    """Return the normalised titles, and their parts after a colon if these are long enough."""
    title, *others = map(fold, (paper.title, *(paper.other_titles or ())))
    subtitles = (one.partition(": ")[2] for one in (title, *others))
    long = (one for one in (title, *others, *subtitles) if len(one.split()) > 3)
    return {fold(one.replace(":", " ")) for one in (title, *long)}
