"""Merging facts of several sources by precedence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import eq
from typing import Any

from tools.sources.names.similarity import absent, same_names, same_title
from tools.sources.services.facts import Facts, Resolved
from tools.sources.services.registry import BY_NAME, BY_SCHEME, SERVICES

ORDER = [service.name for service in SERVICES]
"""Sources by precedence; a BibTeX file comes after all of them."""
VENUE_FACTS = ("track", "volume", "number", "pages", "published")


def merge(found: Sequence[Facts], notes: Sequence[str] = ()) -> Resolved:
    """Merge the facts of sources about one paper; `found[0]` is the requested source."""
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}

    def take(name: str, among: Sequence[Facts]) -> None:
        for facts in sorted(among, key=_rank):
            if value := getattr(facts, name):
                merged[name], origin[name] = value, facts.source
                return

    for name in ("title", "authors", "abstract", "submitted", "venue"):
        take(name, found)
    # The facts of a venue come only from sources that agree on the venue.
    at_venue = [facts for facts in found if merged.get("venue") == facts.venue]
    for name in ("year", *(VENUE_FACTS if "venue" in merged else ())):
        take(name, at_venue)
    merged["code"] = tuple(dict.fromkeys(url for facts in found for url in facts.code))
    if merged["code"]:
        origin["code"] = next(facts.source for facts in found if facts.code)
    merged["comment"] = next((facts.comment for facts in found if facts.comment), None)
    merged["ids"] = _collect(found, "ids", origin)
    merged["links"] = _collect(found, "links", origin)
    merged["other_titles"] = _other_titles(found, merged.get("title", ""))
    facts = Facts(source=found[0].source, **merged)
    return Resolved(
        facts=facts,
        origin=origin,
        disagreements=tuple(_disagreements(found, facts, origin)),
        unverified=_unverified(origin),
        notes=tuple(dict.fromkeys([*(note for each in found for note in each.notes), *notes])),
    )


def _rank(facts: Facts) -> int:
    return ORDER.index(facts.source) if facts.source in ORDER else len(ORDER)


def _issuers(scheme: str) -> list[str]:
    """Return the sources that issue the identifiers of a scheme."""
    own = [BY_SCHEME[scheme].name] if scheme in BY_SCHEME else []
    return own + [s.name for s in SERVICES if s.registers_dois and scheme == "doi"]


def _collect(found: Sequence[Facts], name: str, origin: dict[str, str]) -> dict[str, str]:
    """Take each identifier from its issuer, or from the first source that has it."""
    merged: dict[str, str] = {}
    for key in dict.fromkeys(key for facts in found for key in getattr(facts, name)):
        issued = [f for source in _issuers(key) for f in found if f.source == source]
        named = [facts for facts in found if facts.source in ORDER]
        facts = next(facts for facts in (*issued, *named, *found) if key in getattr(facts, name))
        merged[key], origin[f"{name}.{key}"] = getattr(facts, name)[key], facts.source
    return merged


def _other_titles(found: Sequence[Facts], title: str) -> tuple[str, ...]:
    kept: list[str] = []
    for other in (facts.title for facts in found if facts.title):
        if not any(same_title(other, one) for one in (title, *kept)):
            kept.append(other)
    return tuple(kept)


def _unverified(origin: Mapping[str, str]) -> tuple[str, ...]:
    # An entry does not contain the abstract.
    return tuple(name for name in origin if name != "abstract" and _uncertain(name, origin[name]))


def _uncertain(name: str, source: str) -> bool:
    return source not in BY_NAME or (name == "ids.doi" and source not in _issuers("doi"))


def _disagreements(
    found: Sequence[Facts], facts: Facts, origin: Mapping[str, str]
) -> Iterator[str]:
    """Yield a sentence for each difference in title, authors, venue, year and DOI."""

    def compare(
        name: str, used: Any, values: Iterable[tuple[str, Any]], same: Callable[[Any, Any], bool]
    ) -> Iterator[str]:
        others: dict[Any, list[str]] = {}
        for source, value in values:
            if used and value and not same(used, value):
                others.setdefault(value, []).append(source)
        for value, sources in others.items():
            first, second = _show(used, value)
            yield (
                f"{name.removeprefix('ids.')}: {origin[name]} has {first}, which is used; "
                f"{_and(sources)} {'have' if len(sources) > 1 else 'has'} {second}"
            )

    placed = [each for each in found if each.venue]
    at_venue = [each for each in placed if each.venue == facts.venue]
    yield from compare("title", facts.title, ((f.source, f.title) for f in found), same_title)
    yield from compare("authors", facts.authors, ((f.source, f.authors) for f in found), same_names)
    yield from compare("venue", facts.venue, ((f.source, f.venue) for f in placed), eq)
    yield from compare("year", facts.year, ((f.source, f.year) for f in at_venue), eq)
    dois = ((f.source, f.ids.get("doi")) for f in found)
    yield from compare("ids.doi", facts.ids.get("doi"), dois, eq)


def _show(used: Any, other: Any) -> tuple[str, str]:
    """Format two different values; for lists of names, only their differences."""
    if not isinstance(used, tuple):
        return f"'{used}'", f"'{other}'"
    more, less = absent(other, used), absent(used, other)
    parts = [
        *([f"with {_and(more)}"] if more else ()),
        *([f"without {_and(less)}"] if less else ()),
    ]
    return f"{len(used)}", ", ".join([f"{len(other)}", *(parts or ["in another order"])])


def _and(items: Sequence[str]) -> str:
    shown = [*items[:6], f"{len(items) - 6} more"] if len(items) > 6 else [*items]
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
