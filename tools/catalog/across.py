"""Checks of entries against one another and against the folders of methods."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from rapidfuzz import fuzz, process

from tools.catalog.entries import Catalog, Entry
from tools.catalog.identifiers import SCHEMES
from tools.catalog.paper import Outside, Paper, Relations, Taxonomy
from tools.catalog.problems import Level, Problem
from tools.catalog.reader import read
from tools.catalog.vocabulary import REPOSITORY, VOCABULARY, fold, vocabulary

ALIKE = 92
"""Per cent of two titles' letters in common from which on they may be one title."""
FACET = 3
"""Papers that a word should fit to be worth filtering by."""


def duplicates(paper: Paper, among: Mapping[str, Paper]) -> list[tuple[str, str]]:
    """Return slug and reason of each entry that seems to be the same paper."""
    found = [
        (slug, f"has the same {SCHEMES[scheme].label} identifier, {value}")
        for slug, other in among.items()
        for scheme, value in paper.ids
        if getattr(other.ids, scheme) == value
    ]
    known = _Titles(among)
    taken = {slug for slug, _ in found}
    found += [(slug, reason) for slug, reason in known.like(paper) if slug not in taken]
    return found


class _Titles:
    """Titles in one spelling, and their subtitles, to which papers are often shortened."""

    def __init__(self, papers: Mapping[str, Paper]) -> None:
        self.papers = papers
        spelt = [(len(title), title, slug) for slug in papers for title in _spellings(papers[slug])]
        spelt.sort()
        self.lengths = [length for length, _, _ in spelt]
        self.titles = [title for _, title, _ in spelt]
        self.slugs = [slug for _, _, slug in spelt]

    def like(self, paper: Paper) -> Iterator[tuple[str, str]]:
        """Yield slug and reason of each paper with the same or nearly the same title."""
        best: dict[str, float] = {}
        for title in _spellings(paper):
            shortest = bisect_left(self.lengths, len(title) * ALIKE / (200 - ALIKE))
            for slug, score in self._after(shortest, title):
                best[slug] = max(best.get(slug, 0), score)
        for slug, score in best.items():
            yield slug, self._reason(slug, score)

    def pairs(self) -> Iterator[tuple[str, str, str, bool]]:
        """Yield two papers of like titles, the earlier first, why, and if they are equal."""
        order = {slug: index for index, slug in enumerate(self.papers)}
        best: dict[tuple[str, str], float] = {}
        for index, title in enumerate(self.titles):
            for like, score in self._after(index + 1, title):
                one, other = sorted((self.slugs[index], like), key=order.__getitem__)
                best[one, other] = max(best.get((one, other), 0), score)
        for (one, other), score in best.items():
            if one != other:
                yield one, other, self._reason(one, score), score == 100

    def _after(self, start: int, title: str) -> Iterator[tuple[str, float]]:
        """Compare with titles from one on, up to the length that can still be that much alike."""
        end = bisect_right(self.lengths, len(title) * (200 - ALIKE) / ALIKE)
        for _, score, index in process.extract(
            title, self.titles[start:end], scorer=fuzz.ratio, score_cutoff=ALIKE, limit=None
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
    yield from _same_titles(catalog)


def _same_titles(catalog: Catalog) -> Iterator[Problem]:
    for one, other, reason, equal in _Titles(catalog.papers).pairs():
        yield catalog.entries[other].problem(
            "title",
            message=f"{one} {reason}",
            advice="one paper has one entry; remove one of the two"
            if equal
            else "make sure that they are two papers",
            level=Level.ERROR if equal else Level.WARNING,
        )


def aliases(catalog: Catalog) -> Iterator[Problem]:
    """An old slug leads to one entry."""
    slugs = _slugs(catalog)
    owners: dict[str, str] = {}
    for slug, entry in catalog.entries.items():
        for index, alias in enumerate(entry.paper.aliases or ()):
            other = alias if alias in slugs else owners.setdefault(alias, slug)
            if other != slug or alias == slug:
                what = "an entry" if other == alias else f"an alias of {other}"
                yield entry.problem(
                    "aliases", index, message=f"{alias} is {what} already", advice="remove it"
                )


def _slugs(catalog: Catalog) -> frozenset[str]:
    """Return the slugs of all files, those with errors too: they are there, if not right."""
    return frozenset(catalog.entries) | {document.path.stem for document in catalog.documents}


def relations(catalog: Catalog) -> Iterator[Problem]:
    """A relation leads to another entry, or to a paper that has none."""
    slugs = _slugs(catalog)
    former: dict[str, str] = {}
    for slug, paper in catalog.papers.items():
        former |= {old: slug for old in paper.aliases or () if old not in former}
    numbers = {
        (scheme, value): slug
        for slug, paper in catalog.papers.items()
        for scheme, value in paper.ids
    }
    for entry in catalog.entries.values():
        for loc, relative in _related(entry):
            if isinstance(relative, Outside):
                inside = numbers.get(("arxiv", relative.arxiv or "")) or numbers.get(
                    ("doi", relative.doi or "")
                )
                if inside:
                    message = f"'{relative.title}' is in the catalog"
                    yield entry.problem(*loc, message=message, advice=f"write {inside}")
            elif relative == entry.slug:
                yield entry.problem(*loc, message="relates the paper to itself", advice="remove it")
            elif relative not in slugs:
                yield entry.problem(
                    *loc,
                    message=f"there is no entry {relative}",
                    advice=_nearest(relative, former, slugs),
                )


def _related(entry: Entry) -> Iterator[tuple[tuple[str | int, ...], str | Outside]]:
    for name in Relations.model_fields:
        for index, relative in enumerate(getattr(entry.paper.relations, name) or ()):
            yield ("relations", name.replace("_", "-"), index), relative
    for index, claim in enumerate(entry.paper.claims or ()):
        for slug in claim.against or ():
            yield ("claims", index, "against", slug), slug


def _nearest(slug: str, former: Mapping[str, str], slugs: frozenset[str]) -> str:
    close = process.extractOne(slug, sorted(slugs), scorer=fuzz.ratio, score_cutoff=75)
    if slug in former:
        return f"it is called {former[slug]} now"
    if close:
        return f"did you mean {close[0]}?"
    return "outside the catalog write {arxiv or doi, title, year}"


def cycles(catalog: Catalog) -> Iterator[Problem]:
    """Nothing builds on itself by way of others."""
    graph = {
        slug: {
            relative
            for name, relative in entry.paper.relations
            if name != "compares-with" and relative != slug and relative in catalog.entries
        }
        for slug, entry in catalog.entries.items()
    }
    while True:
        try:
            TopologicalSorter(graph).prepare()
            return
        except CycleError as error:
            # Predecessors first: each builds on the one before it.
            circle = list(reversed(error.args[1][:-1]))
        start = circle.index(min(circle))
        circle = circle[start:] + circle[:start]
        yield catalog.entries[circle[0]].problem(
            "relations",
            message=f"goes round in a circle: {' builds on '.join([*circle, circle[0]])}",
            advice="remove the one that is not so",
        )
        graph[circle[0]].discard(circle[1 % len(circle)])


def folders(catalog: Catalog, implementations: Path) -> Iterator[Problem]:
    """A method folder has an entry that says how it follows the paper, and only it says so."""
    written = {
        path.stem for path in implementations.glob("*/*.py") if path.stem == path.parent.name
    }
    for slug in sorted(written - _slugs(catalog)):
        path = implementations / slug / f"{slug}.py"
        name = path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path
        advice = f"add one: python tools/add_paper.py ID --slug {slug}"
        yield Problem(name, 1, "", f"the catalog has no entry {slug}", advice)
    for slug, entry in catalog.entries.items():
        if slug in written and not entry.paper.fidelity:
            advice = "add `fidelity`: faithful, reconstruction or in-the-spirit"
            message = f"implementations/{slug}/ follows the paper in a way that is not said"
            yield entry.problem(message=message, advice=advice)
        if entry.paper.fidelity and slug not in written:
            message = f"there is no implementations/{slug}/{slug}.py"
            yield entry.problem("fidelity", message=message, advice="remove it until there is")


def alike(catalog: Catalog) -> Iterator[Problem]:
    """Hint at entries that the taxonomy cannot tell apart."""
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in catalog.entries.values():
        if entry.paper.taxonomy:
            groups[entry.paper.taxonomy.model_dump_json()].append(entry)
    for first, *others in groups.values():
        if others:
            names = ", ".join(entry.slug for entry in others)
            yield first.problem(
                "taxonomy", message=f"is the same as that of {names}", level=Level.HINT
            )


def rare(catalog: Catalog) -> Iterator[Problem]:
    """Hint at words that fit too few papers to be worth filtering by."""
    for name in Taxonomy.model_fields:
        used: dict[str, int] = defaultdict(int)
        for paper in catalog.papers.values():
            value = getattr(paper.taxonomy, name, None) or ()
            for word in (value,) if isinstance(value, str) else value:
                used[word] += 1
        path = VOCABULARY / f"{name}.yaml"
        document = read(path, path.relative_to(REPOSITORY))
        for word in vocabulary()[name].terms:
            if used[word] < FACET:
                message = f"is used by {used[word]} of {FACET} papers that a word should fit"
                yield document.problem(("words", word), message, level=Level.HINT)
