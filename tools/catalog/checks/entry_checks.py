"""Checks of a single entry that involve several fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from functools import cache
from typing import Any

from license_expression import get_spdx_licensing

from tools.catalog.documents.diagnostics import Level, Problem
from tools.catalog.documents.yaml_reader import Loc
from tools.catalog.entries.loader import Entry
from tools.catalog.schema.identifiers import is_acm_handle
from tools.catalog.schema.paper import CLASSIFIED, Outside, Taxonomy
from tools.catalog.schema.vocabulary import UNKNOWN, vocabulary

VENUE_FIELDS = ("venue", "track", "volume", "number", "pages", "published")
PAPER_FIELDS = ("bibkey", "submitted", *VENUE_FIELDS, "fidelity")
STUDY_FIELDS = frozenset({"architecture", "topic"})
"""Taxonomy fields of a work that prunes nothing."""


def venue(entry: Entry) -> Iterator[Problem]:
    """Check that a preprint has no venue, and other works have one with a matching track."""
    paper = entry.paper
    if paper.status not in ("preprint", None) and not paper.venue:
        message = f"is {paper.status}, but the entry has no venue"
        yield entry.problem("status", message=message, advice="add `venue`, or write preprint")
    if paper.status == "preprint":
        for name in VENUE_FIELDS:
            if getattr(paper, name) is not None:
                advice = "remove it, or write status: accepted or published"
                message = "is given, but the paper is a preprint"
                yield entry.problem(name, message=message, advice=advice)
    if paper.venue and paper.track:
        yield from _track(entry, paper.venue, paper.track)


def _track(entry: Entry, venue: str, track: str) -> Iterator[Problem]:
    term = vocabulary()["venues"].terms[venue]
    findings = venue.endswith("-findings")
    if term.journal != (track == "journal"):
        verb = "is a journal" if term.journal else "is not a journal"
        advice = "write journal" if term.journal else "write main, workshop or another track"
        yield entry.problem("track", message=f"is {track}, but {venue} {verb}", advice=advice)
    elif findings != (track == "findings"):
        right = venue.removesuffix("-findings") if findings else f"{venue}-findings"
        message = f"is {track}, but the venue is {venue}"
        advice = f"write venue: {right}" if right in vocabulary()["venues"].terms else ""
        yield entry.problem("track", message=message, advice=advice or "correct one of them")


def taxonomy(entry: Entry) -> Iterator[Problem]:
    """Check the taxonomy, topic and role against the kind of work."""
    paper = entry.paper
    yield from _classified(entry)
    given = {name for name in Taxonomy.model_fields if getattr(paper.taxonomy, name, None)}
    if paper.kind == "survey" and given - STUDY_FIELDS:
        advice = f"keep only {' and '.join(sorted(STUDY_FIELDS))}"
        message = "a survey does not prune, so it has no such terms"
        yield entry.problem("taxonomy", message=message, advice=advice)
    if paper.is_method and "topic" in given:
        message = f"a {paper.kind} has no topic"
        advice = "remove it, and describe the purpose in the summary"
        yield entry.problem("taxonomy", "topic", message=message, advice=advice)
    if not paper.is_method and paper.role is not None:
        message = "is only for methods and baselines"
        yield entry.problem("role", message=message, advice="remove it")


def _classified(entry: Entry) -> Iterator[Problem]:
    paper = entry.paper
    if paper.is_method and paper.taxonomy is None:
        advice = "add `taxonomy` with granularity, criterion and calibration"
        yield entry.problem("kind", message=f"a {paper.kind} needs a taxonomy", advice=advice)
        return
    for name in CLASSIFIED:
        words = getattr(paper.taxonomy, name, None)
        if paper.is_method and not words:
            message = f"has no {name}, which a {paper.kind} needs"
            advice = "add it; if the paper does not say, write unknown"
            yield entry.problem("taxonomy", message=message, advice=advice)
        if isinstance(words, tuple) and UNKNOWN in words and len(words) > 1:
            message = "combines unknown with other terms"
            advice = "remove unknown, or the other terms"
            yield entry.problem("taxonomy", name, message=message, advice=advice)


def baseline(entry: Entry) -> Iterator[Problem]:
    """Find fields of papers in a baseline without a paper."""
    paper = entry.paper
    if paper.has_paper:
        return
    given: list[Loc] = [(name,) for name in PAPER_FIELDS if getattr(paper, name) is not None]
    given += [("ids", scheme) for scheme, _ in paper.ids]
    given += [("links", name) for name in ("venue", "paper") if getattr(paper.links, name)]
    for loc in given:
        advice = "remove it, or add authors, year and status"
        yield entry.problem(*loc, message="is given, but the baseline has no paper", advice=advice)


def reachable(entry: Entry) -> Iterator[Problem]:
    """Check that a paper has an identifier or a link."""
    links = entry.paper.links.model_dump(exclude_none=True)
    if entry.paper.has_paper and not any(entry.paper.ids) and not links:
        advice = "add an identifier such as ids.arxiv or ids.doi, or links.venue or links.paper"
        yield entry.problem(message="has neither an identifier nor a link", advice=advice)


def identifiers(entry: Entry) -> Iterator[Problem]:
    """Check that a DOI is the publisher's and that identifiers do not contradict each other."""
    ids = entry.paper.ids
    if ids.doi:
        yield from _doi(entry, ("ids", "doi"), ids.doi)
        anthology = ids.doi.removeprefix("10.18653/v1/")
        if ids.anthology and anthology not in (ids.doi, ids.anthology.lower()):
            message = f"belongs to {anthology}, but ids.anthology is {ids.anthology}"
            yield entry.problem("ids", "doi", message=message, advice="correct one of them")
    volume = entry.paper.volume
    if ids.pmlr and volume and ids.pmlr.split("/")[0] != f"v{volume}":
        message = f"is in volume {ids.pmlr.split('/')[0][1:]}, but `volume` is {volume}"
        yield entry.problem("ids", "pmlr", message=message, advice="correct one of them")
    for name, index, relative in entry.paper.relations.located():
        loc = ("relations", name, index)
        if isinstance(relative, Outside) and relative.doi:
            yield from _doi(entry, (*loc, "doi"), relative.doi)
        if isinstance(relative, Outside) and relative.arxiv:
            yield from _year(entry, (*loc, "year"), relative.year, relative.arxiv)


def _doi(entry: Entry, loc: Loc, doi: str) -> Iterator[Problem]:
    if is_acm_handle(doi):
        advice = "remove it, because it does not resolve"
        yield entry.problem(*loc, message="is an internal handle of ACM, not a DOI", advice=advice)
    if doi.startswith("10.48550/"):
        advice = "write the identifier under arxiv instead"
        yield entry.problem(*loc, message="is a DOI of arXiv, not of a publisher", advice=advice)


def dates(entry: Entry) -> Iterator[Problem]:
    """Check that dates exist, are in order, and match the arXiv identifier."""
    paper = entry.paper
    given: dict[Loc, str | None] = {
        ("submitted",): paper.submitted,
        ("published",): paper.published,
        ("added",): paper.added,
        ("sources", "checked"): paper.sources.checked,
    }
    given |= {("code", i, "last_commit"): c.last_commit for i, c in enumerate(paper.code or ())}
    checked = max(paper.added, paper.sources.checked)
    for loc, day in given.items():
        if day and not _exists(day):
            yield entry.problem(*loc, message=f"{day} is not a valid date", advice="correct it")
        elif day and later(day, checked) and (loc, paper.status) != (("published",), "accepted"):
            message = f"{day} is after {checked}, when the facts were checked"
            yield entry.problem(*loc, message=message, advice="correct one of them")
    if paper.submitted and paper.published and later(paper.submitted, paper.published):
        message = f"{paper.published} is before the first public version, {paper.submitted}"
        yield entry.problem("published", message=message, advice="correct one of them")
    if paper.ids.arxiv and paper.year:
        yield from _year(entry, ("year",), paper.year, paper.ids.arxiv)
        yield from _month(entry, arxiv_month(paper.ids.arxiv))
    yield from _preprint(entry)


def _exists(day: str) -> bool:
    if len(day) < 10:  # a year, or a year and a month
        return True
    try:
        date.fromisoformat(day)
    except ValueError:
        return False
    return True


def later(one: str, other: str) -> bool:
    """Whether a date is after another, at the coarser precision of the two."""
    known = min(len(one), len(other))
    return one[:known] > other[:known]


def arxiv_month(identifier: str) -> str:
    """Return the month in which arXiv assigned an identifier: `2023-01` for 2301.00774."""
    digits = identifier.rpartition("/")[2]
    century = "19" if digits[:2] > "90" else "20"
    return f"{century}{digits[:2]}-{digits[2:4]}"


def _year(entry: Entry, loc: Loc, year: int, identifier: str) -> Iterator[Problem]:
    month = arxiv_month(identifier)
    if year < int(month[:4]):
        message = f"{year} is before {month}, when arXiv assigned {identifier}"
        yield entry.problem(*loc, message=message, advice="correct one of them")


def _month(entry: Entry, month: str) -> Iterator[Problem]:
    """Compare the first version with its identifier, which arXiv may assign a month later."""
    paper = entry.paper
    if paper.submitted and later(paper.submitted, month):
        message = f"{paper.submitted} is after {month}, when arXiv assigned the identifier"
        advice = "write the date of the first version"
        yield entry.problem("submitted", message=message, advice=advice)
    elif paper.submitted and later(_before(month), paper.submitted) and not paper.notes:
        message = f"{paper.submitted} is long before {month}, when arXiv assigned the identifier"
        advice = "explain in `notes` which version was public then"
        yield entry.problem("submitted", message=message, advice=advice, level=Level.WARNING)


def _before(month: str) -> str:
    year, number = map(int, month.split("-"))
    return f"{year}-{number - 1:02}" if number > 1 else f"{year - 1}-12"


def _preprint(entry: Entry) -> Iterator[Problem]:
    paper = entry.paper
    first = paper.submitted or (paper.ids.arxiv and arxiv_month(paper.ids.arxiv))
    if paper.status == "preprint" and first and paper.year and int(first[:4]) < paper.year:
        message = f"{paper.year} is not the year of the first version, {first}"
        yield entry.problem("year", message=message, advice=f"write {first[:4]} for a preprint")


def code(entry: Entry) -> Iterator[Problem]:
    """Check for unknown licences, unclear licences without note, and repeated repositories."""
    seen: set[str] = set()
    for index, one in enumerate(entry.paper.code or ()):
        address = one.url.lower().removesuffix("/").removesuffix(".git")
        if address in seen:
            message = "is listed twice"
            yield entry.problem("code", index, "url", message=message, advice="remove one of them")
        seen.add(address)
        if one.license == "unclear" and not one.note:
            advice = "add a `note` that explains it"
            message = "is unclear, but there is no note"
            yield entry.problem("code", index, "license", message=message, advice=advice)
        elif one.license not in (None, "NONE", "unclear") and not _spdx(one.license):
            message = f"'{one.license}' is not an SPDX licence expression"
            advice = "see spdx.org/licenses; without a licence, write NONE"
            yield entry.problem("code", index, "license", message=message, advice=advice)


@cache
def _spdx(expression: str) -> bool:
    return not _licences().validate(expression).errors


@cache
def _licences() -> Any:
    return get_spdx_licensing()


def unverified(entry: Entry) -> Iterator[Problem]:
    """Find unverified fields that the entry does not have."""
    for index, name in enumerate(entry.paper.sources.unverified or ()):
        if not _holds(entry.document.data, name.split(".")):
            advice = "remove it"
            yield entry.problem(
                "sources",
                "unverified",
                index,
                message=f"the entry has no field {name}",
                advice=advice,
            )


def _holds(data: Any, path: list[str]) -> bool:
    if isinstance(data, list):
        return any(_holds(item, path) for item in data)
    if not path:
        return True
    return isinstance(data, Mapping) and path[0] in data and _holds(data[path[0]], path[1:])


def repeated_items(entry: Entry) -> Iterator[Problem]:
    """Find lists that contain an item twice."""

    def inside(value: Any, loc: Loc) -> Iterator[Problem]:
        if isinstance(value, Mapping):
            for name, one in value.items():
                yield from inside(one, (*loc, name))
        elif isinstance(value, list):
            for index, one in enumerate(value):
                if one in value[:index]:
                    item = f"'{one}'" if isinstance(one, str) else "an item"
                    yield entry.problem(
                        *loc, index, message=f"repeats {item}", advice="remove one of them"
                    )
                yield from inside(one, (*loc, index))

    return inside(entry.document.data, ())


CHECKS: tuple[Callable[[Entry], Iterator[Problem]], ...] = (
    venue,
    taxonomy,
    baseline,
    reachable,
    identifiers,
    dates,
    code,
    unverified,
    repeated_items,
)
