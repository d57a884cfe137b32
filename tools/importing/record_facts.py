"""The facts of a record in the form of a source's facts, so that all can be merged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tools.catalog.schema.identifiers import SCHEMES
from tools.catalog.schema.paper import Ids, Paper
from tools.importing.record import Record
from tools.sources.lookup.identification import identify
from tools.sources.lookup.normalization import normalize
from tools.sources.names.references import TITLE, Unidentified
from tools.sources.names.venues import find_venue, venue_term
from tools.sources.services.facts import Facts, Resolved

LIST = "the list"
"""The name of the list as a source; every other source takes precedence."""


def record_facts(record: Record) -> Facts:
    """Return the facts of a record; raises `Malformed` if a text cannot be part of an entry.

    Its repository is left out, because only a source can tell whose it is.
    """
    where = find_venue(record.venue or "")
    # The DOI goes to `mentions`, because it may contain an arXiv or ACL Anthology identifier.
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
    """Whether a page address or DOI contains an identifier."""
    try:
        return identify(url).scheme != TITLE
    except Unidentified:
        return False


def is_preprint(record: Record) -> bool:
    """Whether a record describes its paper as a preprint."""
    return record.venue is None or venue_term(record.venue) == "arxiv"


def unknown_venue(record: Record) -> str:
    """Return the venue of a record if the vocabulary has no term for it, else an empty text."""
    known = is_preprint(record) or find_venue(record.venue or "")
    return "" if known else record.venue or ""


def to_compare(facts: Facts) -> Paper:
    """Return an incomplete paper with identifiers and titles, to be compared with others."""
    # Facts are compared before they are a complete entry, so this is not validated.
    ids = Ids.model_construct(None, **facts.ids)
    fields: dict[str, Any] = {"title": facts.title or "", "ids": ids}
    return Paper.model_construct(**fields, other_titles=facts.other_titles)


def differences(record: Record, own: Facts, resolved: Resolved) -> Iterator[str]:
    """Yield the contradictions between sources and record, and the unusable parts of the record.

    `own` are the facts of the record, `resolved` the merged facts of record and sources.
    """
    facts, origin = resolved.facts, resolved.origin
    yield from resolved.disagreements
    yield from resolved.notes
    yield from _venue(record, resolved)
    year_reported = any(one.startswith("year:") for one in resolved.disagreements)
    if record.year not in (None, facts.year) and not year_reported:
        yield f"year: {origin['year']} has {facts.year}, which is used; {LIST} has {record.year}"
    for scheme, value in own.ids.items():
        used = facts.ids.get(scheme, value)
        if used != value and scheme != "doi":
            yield f"{scheme}: {origin[f'ids.{scheme}']} has {used}; {LIST} has {value}"
    if record.doi and not _is_known(record.doi):
        yield f"doi: '{record.doi}' is not the DOI of a paper and was left out"
    if record.conflicts:
        yield f"conflicts in {LIST}: {record.conflicts}"


def _venue(record: Record, resolved: Resolved) -> Iterator[str]:
    venue, origin = resolved.facts.venue, resolved.origin.get("venue")
    other = record.venue and (is_preprint(record) or unknown_venue(record))
    if resolved.facts.comment and (venue is None or origin == LIST):
        yield f"comment of the authors on arXiv: '{resolved.facts.comment[:150]}'"
    if venue and origin == LIST and was_found(resolved):
        yield f"venue: {LIST} has '{venue}'; no source names one"
    elif venue and other:
        yield f"venue: {origin} has '{venue}', which is used; {LIST} has '{record.venue}'"
    elif unknown := unknown_venue(record):
        yield f"venue: '{unknown}' is not in vocabulary/venues.yaml; define it there"


def was_found(resolved: Resolved) -> bool:
    """Whether any source knows the paper."""
    return any(source != LIST for source in resolved.origin.values())
