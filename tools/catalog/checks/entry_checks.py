"""Checks of one entry against itself: what the schema cannot say of two fields together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from functools import cache
from typing import Any

from license_expression import get_spdx_licensing

from tools.catalog.documents.diagnostics import Level, Problem
from tools.catalog.documents.yaml_reader import Loc
from tools.catalog.entries.loader import Entry
from tools.catalog.schema.identifiers import placeholder
from tools.catalog.schema.paper import CLASSIFIED, Outside, Taxonomy
from tools.catalog.schema.vocabulary import UNKNOWN, vocabulary

OF_A_VENUE = ("venue", "track", "volume", "number", "pages", "published")
OF_A_PAPER = ("bibkey", "submitted", *OF_A_VENUE, "fidelity")
OF_STUDIES = frozenset({"architecture", "topic"})
"""What a work that prunes nothing may say of itself."""


def venue(entry: Entry) -> Iterator[Problem]:
    """A preprint has no venue; anything further on its way has one, and a fitting track."""
    paper = entry.paper
    if paper.status not in ("preprint", None) and not paper.venue:
        message = f"is {paper.status}, but the entry names no venue"
        yield entry.problem("status", message=message, advice="add `venue`, or write preprint")
    if paper.status == "preprint":
        for name in OF_A_VENUE:
            if getattr(paper, name) is not None:
                advice = "remove it, or write status: accepted or published"
                yield entry.problem(name, message="is given, but it is a preprint", advice=advice)
    if paper.venue and paper.track:
        yield from _track(entry, paper.venue, paper.track)


def _track(entry: Entry, venue: str, track: str) -> Iterator[Problem]:
    term = vocabulary()["venues"].terms[venue]
    findings = venue.endswith("-findings")
    if term.journal != (track == "journal"):
        what = "a journal" if term.journal else "no journal"
        advice = "write journal" if term.journal else "write main, workshop or what it was"
        yield entry.problem("track", message=f"is {track}, but {venue} is {what}", advice=advice)
    elif findings != (track == "findings"):
        right = venue.removesuffix("-findings") if findings else f"{venue}-findings"
        message = f"is {track}, but the venue is {venue}"
        advice = f"write venue: {right}" if right in vocabulary()["venues"].terms else ""
        yield entry.problem("track", message=message, advice=advice or "correct one of them")


def taxonomy(entry: Entry) -> Iterator[Problem]:
    """Methods and baselines are classified; surveys prune nothing; what is unknown stands alone."""
    paper = entry.paper
    yield from _classified(entry)
    given = {name for name in Taxonomy.model_fields if getattr(paper.taxonomy, name, None)}
    if paper.kind == "survey" and given - OF_STUDIES:
        advice = f"leave {' and '.join(sorted(OF_STUDIES))} only"
        yield entry.problem("taxonomy", message="a survey prunes nothing", advice=advice)
    if paper.is_method and "topic" in given:
        message = f"a {paper.kind} has no topic"
        advice = "remove it; the summary says what it is for"
        yield entry.problem("taxonomy", "topic", message=message, advice=advice)
    if not paper.is_method and paper.role is not None:
        advice = "remove it"
        yield entry.problem("role", message="only methods and baselines have one", advice=advice)


def _classified(entry: Entry) -> Iterator[Problem]:
    paper = entry.paper
    if paper.is_method and paper.taxonomy is None:
        advice = "add `taxonomy` with granularity, criterion and calibration"
        yield entry.problem("kind", message=f"a {paper.kind} needs a taxonomy", advice=advice)
        return
    for name in CLASSIFIED:
        words = getattr(paper.taxonomy, name, None)
        if paper.is_method and not words:
            message = f"lacks {name}, which a {paper.kind} needs"
            advice = "write what the paper says, or unknown"
            yield entry.problem("taxonomy", message=message, advice=advice)
        if isinstance(words, tuple) and UNKNOWN in words and len(words) > 1:
            message = "is unknown and known"
            advice = "leave out unknown, or the rest"
            yield entry.problem("taxonomy", name, message=message, advice=advice)


def baseline(entry: Entry) -> Iterator[Problem]:
    """A baseline without a paper has nothing that only a paper has."""
    paper = entry.paper
    if paper.has_paper:
        return
    given: list[Loc] = [(name,) for name in OF_A_PAPER if getattr(paper, name) is not None]
    given += [("ids", scheme) for scheme, _ in paper.ids]
    given += [("links", name) for name in ("venue", "paper") if getattr(paper.links, name)]
    for loc in given:
        advice = "remove it, or add authors, year and status"
        yield entry.problem(*loc, message="is given, but the baseline has no paper", advice=advice)


def findable(entry: Entry) -> Iterator[Problem]:
    """A reader can get to the paper."""
    links = entry.paper.links.model_dump(exclude_none=True)
    if entry.paper.has_paper and not any(entry.paper.ids) and not links:
        advice = "add one of ids.arxiv, ids.doi and so on, or links.venue or links.paper"
        yield entry.problem(message="has neither an identifier nor a link", advice=advice)


def identifiers(entry: Entry) -> Iterator[Problem]:
    """A DOI is the publisher's, and identifiers of one paper agree with one another."""
    ids = entry.paper.ids
    if ids.doi:
        yield from _doi(entry, ("ids", "doi"), ids.doi)
        anthology = ids.doi.removeprefix("10.18653/v1/")
        if ids.anthology and anthology not in (ids.doi, ids.anthology.lower()):
            message = f"is that of {anthology}, but ids.anthology is {ids.anthology}"
            yield entry.problem("ids", "doi", message=message, advice="correct one of them")
    volume = entry.paper.volume
    if ids.pmlr and volume and ids.pmlr.split("/")[0] != f"v{volume}":
        message = f"is in volume {ids.pmlr.split('/')[0][1:]}, but volume is {volume}"
        yield entry.problem("ids", "pmlr", message=message, advice="correct one of them")
    for name, index, relative in entry.paper.relations.located():
        loc = ("relations", name, index)
        if isinstance(relative, Outside) and relative.doi:
            yield from _doi(entry, (*loc, "doi"), relative.doi)
        if isinstance(relative, Outside) and relative.arxiv:
            yield from _year(entry, (*loc, "year"), relative.year, relative.arxiv)


def _doi(entry: Entry, loc: Loc, doi: str) -> Iterator[Problem]:
    if placeholder(doi):
        advice = "leave it out; it leads nowhere"
        yield entry.problem(*loc, message="is a placeholder of ACM and no DOI", advice=advice)
    if doi.startswith("10.48550/"):
        advice = "write the arXiv identifier under arxiv instead"
        yield entry.problem(*loc, message="is arXiv's own and no publisher's DOI", advice=advice)


def dates(entry: Entry) -> Iterator[Problem]:
    """Dates exist, lie in order, and fit the identifier of arXiv."""
    paper = entry.paper
    given: dict[Loc, str | None] = {
        ("submitted",): paper.submitted,
        ("published",): paper.published,
        ("added",): paper.added,
        ("sources", "checked"): paper.sources.checked,
    }
    given |= {("code", i, "last_commit"): c.last_commit for i, c in enumerate(paper.code or ())}
    seen = max(paper.added, paper.sources.checked)
    for loc, day in given.items():
        if day and not _exists(day):
            yield entry.problem(*loc, message=f"{day} is in no calendar", advice="correct it")
        elif day and later(day, seen) and (loc, paper.status) != (("published",), "accepted"):
            message = f"{day} is after {seen}, when the facts were checked"
            yield entry.problem(*loc, message=message, advice="correct one of them")
    if paper.submitted and paper.published and later(paper.submitted, paper.published):
        message = f"{paper.published} is before the first public version, {paper.submitted}"
        yield entry.problem("published", message=message, advice="correct one of them")
    if paper.ids.arxiv and paper.year:
        yield from _year(entry, ("year",), paper.year, paper.ids.arxiv)
        yield from _month(entry, arxiv_month(paper.ids.arxiv))
    yield from _preprint(entry)


def _exists(day: str) -> bool:
    try:
        date.fromisoformat(day + "-01-01"[len(day) - 4 :] if len(day) < 10 else day)
    except ValueError:
        return False
    return True


def later(one: str, other: str) -> bool:
    """Whether a date is after another, as far as both are known."""
    known = min(len(one), len(other))
    return one[:known] > other[:known]


def arxiv_month(identifier: str) -> str:
    """Return the month in which arXiv gave an identifier: `2023-01` for 2301.00774."""
    digits = identifier.rpartition("/")[2]
    century = "19" if digits[:2] > "90" else "20"
    return f"{century}{digits[:2]}-{digits[2:4]}"


def _year(entry: Entry, loc: Loc, year: int, identifier: str) -> Iterator[Problem]:
    month = arxiv_month(identifier)
    if year < int(month[:4]):
        message = f"{year} is before the arXiv identifier {identifier}, given in {month}"
        yield entry.problem(*loc, message=message, advice="correct one of them")


def _month(entry: Entry, month: str) -> Iterator[Problem]:
    """Compare with the first version, which arXiv may number in the month after it came."""
    paper = entry.paper
    if paper.submitted and later(paper.submitted, month):
        message = f"{paper.submitted} is after {month}, when arXiv gave the identifier"
        yield entry.problem("submitted", message=message, advice="write the first version's date")
    elif paper.submitted and later(_before(month), paper.submitted) and not paper.notes:
        message = f"{paper.submitted} is long before {month}, when arXiv gave the identifier"
        advice = "say in the notes what was public then"
        yield entry.problem("submitted", message=message, advice=advice, level=Level.WARNING)


def _before(month: str) -> str:
    year, number = map(int, month.split("-"))
    return f"{year}-{number - 1:02}" if number > 1 else f"{year - 1}-12"


def _preprint(entry: Entry) -> Iterator[Problem]:
    paper = entry.paper
    first = paper.submitted or (paper.ids.arxiv and arxiv_month(paper.ids.arxiv))
    if paper.status == "preprint" and first and paper.year and int(first[:4]) < paper.year:
        message = f"{paper.year} is not the year of the first version, {first}"
        yield entry.problem("year", message=message, advice=f"write {first[:4]}, as for preprints")


def code(entry: Entry) -> Iterator[Problem]:
    """Licences are known ones, doubts are explained, no repository stands twice."""
    seen: set[str] = set()
    for index, one in enumerate(entry.paper.code or ()):
        address = one.url.lower().removesuffix("/").removesuffix(".git")
        if address in seen:
            message = "is listed twice"
            yield entry.problem("code", index, "url", message=message, advice="keep it once")
        seen.add(address)
        if one.license == "unclear" and not one.note:
            advice = "add `note` with what was found"
            yield entry.problem(
                "code", index, "license", message="is unclear without a reason", advice=advice
            )
        elif one.license not in (None, "NONE", "unclear") and not _spdx(one.license):
            message = f"'{one.license}' is no SPDX licence expression"
            advice = "see spdx.org/licenses; NONE where there is none"
            yield entry.problem("code", index, "license", message=message, advice=advice)


@cache
def _spdx(expression: str) -> bool:
    return not _licences().validate(expression).errors


@cache
def _licences() -> Any:
    return get_spdx_licensing()


def unverified(entry: Entry) -> Iterator[Problem]:
    """Only what the entry holds can be named as not checked."""
    for index, name in enumerate(entry.paper.sources.unverified or ()):
        if not _holds(entry.document.data, name.split(".")):
            advice = "remove it; a field left out is not known anyway"
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


def repeated(entry: Entry) -> Iterator[Problem]:
    """No list holds an item twice."""

    def inside(value: Any, loc: Loc) -> Iterator[Problem]:
        if isinstance(value, Mapping):
            for name, one in value.items():
                yield from inside(one, (*loc, name))
        elif isinstance(value, list):
            for index, one in enumerate(value):
                if one in value[:index]:
                    what = f"'{one}'" if isinstance(one, str) else "the same"
                    yield entry.problem(
                        *loc, index, message=f"holds {what} twice", advice="keep it once"
                    )
                yield from inside(one, (*loc, index))

    return inside(entry.document.data, ())


CHECKS: tuple[Callable[[Entry], Iterator[Problem]], ...] = (
    venue,
    taxonomy,
    baseline,
    findable,
    identifiers,
    dates,
    code,
    unverified,
    repeated,
)
