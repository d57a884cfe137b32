"""What a service says, made fit for an entry: identifiers sorted, texts plain, nothing hidden."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import replace

from tools.catalog.schema.field_types import flaws
from tools.catalog.schema.identifiers import SCHEMES
from tools.sources.lookup.identification import identify
from tools.sources.names.references import TITLE, Reference, Unidentified
from tools.sources.names.text import plain, without_homonym
from tools.sources.services.facts import Facts
from tools.sources.services.table import BY_SCHEME, SERVICES
from tools.sources.web.errors import CHECK, Malformed

LONGEST_TITLE = 300
LONGEST = 120


def normalize(facts: Facts) -> Facts:
    """Sort what facts mention, the first of a kind, and make their texts plain.

    Raises `Malformed` where a text cannot be made what an entry may hold.
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
    """Yield the papers that a text names, also by an identifier that its DOI ends in."""
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
    def usable(what: str, text: str | None, most: int = LONGEST) -> str | None:
        shown = plain(text or "")
        for message, _ in flaws(shown):
            raise Malformed(f"the {what} of {facts.source} {message}", CHECK)
        if len(shown) > most:
            long = f"a text of {len(shown):,} characters, more than {most}"
            raise Malformed(f"the {what} of {facts.source} holds {long}", CHECK)
        return shown or None

    names = (usable("list of authors", without_homonym(name)) for name in facts.authors)
    notes = list(map(plain, facts.notes))
    title = usable("title", facts.title, LONGEST_TITLE)
    if title and title != " ".join(html.unescape(facts.title or "").split()):
        notes.append(f"{facts.source} has markup or hidden characters in the title, now removed")
    return replace(
        facts,
        title=title,
        authors=tuple(filter(None, names)),
        abstract=facts.abstract and plain(facts.abstract),
        year=facts.year if facts.year and 1950 <= facts.year <= 2100 else None,
        volume=usable("volume", facts.volume),
        number=usable("number", facts.number),
        notes=tuple(notes),
    )
