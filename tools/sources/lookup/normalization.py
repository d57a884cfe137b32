"""Normalisation of the facts of a service: identifiers sorted, texts without markup."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import replace

from tools.catalog.schema.field_types import text_problems
from tools.catalog.schema.identifiers import SCHEMES
from tools.sources.errors import CHECK, Malformed
from tools.sources.lookup.identification import identify
from tools.sources.names.references import TITLE, Reference, Unidentified
from tools.sources.names.text import plain, without_homonym
from tools.sources.services.facts import Facts
from tools.sources.services.registry import BY_SCHEME, SERVICES

MAX_TITLE = 300
MAX_TEXT = 120


def normalize(facts: Facts) -> Facts:
    """Move `mentions` to `ids` and `links`, and remove markup from the texts.

    Raises `Malformed` if a text cannot be part of an entry.
    """
    ids, links = dict(facts.ids), dict(facts.links)
    for text in filter(None, facts.mentions):
        for reference in _references(text):
            if reference.scheme in SCHEMES:
                ids.setdefault(reference.scheme, reference.value)
            else:
                links.setdefault("venue", BY_SCHEME[reference.scheme].address(reference))
    return _tidy(replace(facts, ids=ids, links=links, mentions=()))


def _references(text: str) -> Iterator[Reference]:
    """Yield the reference in a text, and the identifier that its DOI contains."""
    try:
        reference = identify(text)
    except Unidentified:
        return
    if reference.scheme == TITLE:
        return
    yield reference
    for service in SERVICES:
        rest = reference.value.removeprefix(service.doi_prefix)
        if rest != reference.value and (own := service.from_text(rest)):
            yield own


def _tidy(facts: Facts) -> Facts:
    def clean(field: str, text: str | None, limit: int = MAX_TEXT) -> str | None:
        shown = plain(text or "")
        for message, _ in text_problems(shown):
            raise Malformed(f"the {field} of {facts.source} {message}", CHECK)
        if len(shown) > limit:
            length = f"{len(shown):,} characters, more than {limit}"
            raise Malformed(f"the {field} of {facts.source} has {length}", CHECK)
        return shown or None

    names = (clean("list of authors", without_homonym(name)) for name in facts.authors)
    notes = list(map(plain, facts.notes))
    title = clean("title", facts.title, MAX_TITLE)
    if title and title != " ".join(html.unescape(facts.title or "").split()):
        notes.append(f"markup or hidden characters were removed from the title of {facts.source}")
    return replace(
        facts,
        title=title,
        authors=tuple(filter(None, names)),
        abstract=facts.abstract and plain(facts.abstract),
        year=facts.year if facts.year and 1950 <= facts.year <= 2100 else None,
        volume=clean("volume", facts.volume),
        number=clean("number", facts.number),
        notes=tuple(notes),
    )
