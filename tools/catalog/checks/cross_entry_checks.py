"""Checks of entries against each other and against the method folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from rapidfuzz import fuzz, process

from tools.catalog.checks.duplicates import shared_identifiers, similar_titles
from tools.catalog.documents.diagnostics import Problem
from tools.catalog.documents.yaml_reader import Loc
from tools.catalog.entries.declined import read_declined
from tools.catalog.entries.loader import Catalog, Entry
from tools.catalog.schema.paper import Outside
from tools.catalog.schema.vocabulary import fold
from tools.repository import REPOSITORY, implemented


def aliases(catalog: Catalog) -> Iterator[Problem]:
    """Find former slugs that are used twice."""
    slugs = _slugs(catalog)
    owners: dict[str, str] = {}
    for slug, entry in catalog.entries.items():
        for index, alias in enumerate(entry.paper.aliases or ()):
            other = alias if alias in slugs else owners.setdefault(alias, slug)
            if other != slug or alias == slug:
                use = "an entry" if other == alias else f"an alias of {other}"
                yield entry.problem(
                    "aliases", index, message=f"{alias} is already {use}", advice="remove it"
                )


def _slugs(catalog: Catalog) -> frozenset[str]:
    """Return the slugs of all files, including files with errors."""
    return frozenset(catalog.entries) | {document.path.stem for document in catalog.documents}


def relations(catalog: Catalog) -> Iterator[Problem]:
    """Find relations to missing entries, to the paper itself, and to papers with an entry."""
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
                yield entry.problem(*loc, message="is the paper itself", advice="remove it")
            elif relative not in slugs:
                yield entry.problem(
                    *loc,
                    message=f"there is no entry {relative}",
                    advice=_nearest(relative, former, slugs),
                )


def _related(entry: Entry) -> Iterator[tuple[Loc, str | Outside]]:
    for name, place, relative in entry.paper.relations.located():
        yield ("relations", name, place), relative
    for index, claim in enumerate(entry.paper.claims or ()):
        for slug in claim.against or ():
            yield ("claims", index, "against", slug), slug


def _nearest(slug: str, former: Mapping[str, str], slugs: frozenset[str]) -> str:
    close = process.extractOne(slug, sorted(slugs), scorer=fuzz.ratio, score_cutoff=75)
    if slug in former:
        return f"it was renamed to {former[slug]}"
    if close:
        return f"did you mean {close[0]}?"
    return "for a paper outside the catalog, write {arxiv or doi, title, year}"


def cycles(catalog: Catalog) -> Iterator[Problem]:
    """Find a paper that builds on itself through others."""
    graph = {
        slug: {
            relative
            for name, relative in entry.paper.relations
            if name != "compares-with" and relative != slug and relative in catalog.entries
        }
        for slug, entry in catalog.entries.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        # In the error, each paper is followed by one that builds on it.
        circle = list(reversed(error.args[1][:-1]))
        start = circle.index(min(circle))
        circle = circle[start:] + circle[:start]
        yield catalog.entries[circle[0]].problem(
            "relations",
            message=f"form a cycle: {' builds on '.join([*circle, circle[0]])}",
            advice="remove the wrong relation",
        )


def method_folders(catalog: Catalog, implementations: Path) -> Iterator[Problem]:
    """Find method folders without entry or `fidelity`, and `fidelity` without method folder."""
    written = implemented(implementations)
    for slug in sorted(written - _slugs(catalog)):
        path = implementations / slug / f"{slug}.py"
        name = path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path
        advice = f"add one: python tools/add_paper.py ID --slug {slug}"
        yield Problem(name, 1, "", f"the catalog has no entry {slug}", advice)
    for slug, entry in catalog.entries.items():
        if slug in written and entry.paper.has_paper and not entry.paper.fidelity:
            advice = "add it: faithful, reconstruction or in-the-spirit"
            message = f"implementations/{slug}/ exists, but `fidelity` is missing"
            yield entry.problem(message=message, advice=advice)
        if entry.paper.fidelity and slug not in written:
            message = f"there is no implementations/{slug}/{slug}.py"
            yield entry.problem("fidelity", message=message, advice="remove it")


def declined_papers(catalog: Catalog, root: Path) -> Iterator[Problem]:
    """Find errors in `catalog/declined.yaml`, repeated papers, and papers that have an entry."""
    declined, problems, document = read_declined(root)
    yield from problems
    owners: dict[object, str] = {}
    for slug, paper in catalog.papers.items():
        titles = map(fold, (paper.title, *(paper.other_titles or ())))
        owners |= dict.fromkeys((*titles, *paper.ids), f"is in the catalog as {slug}")
    for index, one in enumerate(declined):
        keys = (fold(one.title), *one.ids)
        if owner := next((owners[key] for key in keys if key in owners), ""):
            advice = "remove it here, or remove the entry" if " as " in owner else "remove it"
            message = f"'{one.title}' {owner}"
            yield document.problem(("papers", index), message, advice)
        owners |= dict.fromkeys(keys, "is already declined")


CHECKS: tuple[Callable[[Catalog], Iterator[Problem]], ...] = (
    shared_identifiers,
    similar_titles,
    aliases,
    relations,
    cycles,
)
