"""What a record says, in the form in which sources say it, so that all can be merged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tools.catalog.schema.identifiers import SCHEMES
from tools.catalog.schema.paper import Ids, Paper
from tools.importing.record import Record
from tools.lists.parser import known_venue
from tools.sources.lookup.identification import identify
from tools.sources.lookup.normalization import normalize
from tools.sources.names.references import TITLE, Unidentified
from tools.sources.names.venues import announced, find_venue
from tools.sources.services.facts import Facts, Resolved

LIST = "the list"
"""Its name beside those of the sources; what it says counts less than what any of them says."""


def listed(record: Record) -> Facts:
    """Return the facts of a record; raises `Malformed` where a text of it fits no entry.

    Its code is left out: who wrote it only a source can tell.
    """
    where = find_venue(record.venue or "")
    # A DOI may be arXiv's own, or lead to the ACL Anthology.
    kept = [scheme for scheme in SCHEMES if scheme != "doi"]
    return normalize(
        Facts(
            source=LIST,
            title=record.title,
            authors=record.authors or (),
            year=record.year,
            venue=where.venue if where else None,
            track=where.track if where else None,
            ids={scheme: value for scheme in kept if (value := getattr(record, scheme))},
            links={} if record.url is None or _is_known(record.url) else {"paper": record.url},
            mentions=(record.doi, record.url),
        )
    )


def _is_known(url: str) -> bool:
    """Whether a source knows the paper of a page."""
    try:
        return identify(url).scheme != TITLE
    except Unidentified:
        return False


def is_preprint(record: Record) -> bool:
    """Whether a record says that its paper is published nowhere."""
    return record.venue is None or known_venue(record.venue) == "arxiv"


def unknown_venue(record: Record) -> str:
    """Return the venue of a record if the vocabulary has no word for it."""
    known = is_preprint(record) or find_venue(record.venue or "")
    return "" if known else record.venue or ""


def to_compare(facts: Facts) -> Paper:
    """Return as much of a paper as shows whether two are the same."""
    # Not validated: facts have an identifier and a title long before they are an entry.
    ids = Ids.model_construct(None, **facts.ids)
    fields: dict[str, Any] = {"title": facts.title or "", "ids": ids}
    return Paper.model_construct(**fields, other_titles=facts.other_titles)


def differences(record: Record, own: Facts, resolved: Resolved) -> Iterator[str]:
    """Say where the sources and a record disagree, and what of the record cannot be taken.

    `own` are the facts of the record, `resolved` those of all together.
    """
    facts, origin = resolved.facts, resolved.origin
    yield from resolved.disagreements
    yield from resolved.notes
    yield from _venue(record, resolved)
    years_told = any(one.startswith("year:") for one in resolved.disagreements)
    if record.year not in (None, facts.year) and not years_told:
        yield f"year: {origin['year']} has {facts.year}, which is taken; {LIST} has {record.year}"
    for scheme, value in own.ids.items():
        taken = facts.ids.get(scheme, value)
        if taken != value and scheme != "doi":
            yield f"{scheme}: {origin[f'ids.{scheme}']} has {taken}; {LIST} has {value}"
    if record.doi and not _is_known(record.doi):
        yield f"doi: '{record.doi}' names no paper, left out"
    if record.conflicts:
        yield f"{LIST} says of itself: {record.conflicts}"


def _venue(record: Record, resolved: Resolved) -> Iterator[str]:
    venue, origin = resolved.facts.venue, resolved.origin.get("venue")
    other = record.venue and (is_preprint(record) or unknown_venue(record))
    if comment := announcement(resolved):
        yield f"on arXiv the authors say '{comment}'"
    if venue and origin == LIST and was_found(resolved):
        yield f"venue: {LIST} has '{venue}'; no source names one"
    elif venue and other:
        yield f"venue: {origin} has '{venue}', which is taken; {LIST} has '{record.venue}'"
    elif unknown := unknown_venue(record):
        yield f"venue: '{unknown}' is not in vocabulary/venues.yaml; define it there"


def announcement(resolved: Resolved) -> str:
    """Return what the authors say of a venue on arXiv, where no source knows of any."""
    comment = resolved.facts.comment or ""
    known = resolved.origin.get("venue", LIST) != LIST
    return comment[:150] if not known and announced(comment) else ""


def was_found(resolved: Resolved) -> bool:
    """Whether any source knows the paper."""
    return any(source != LIST for source in resolved.origin.values())
