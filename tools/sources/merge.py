"""One set of facts out of several, by the order of the table of services."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import eq
from typing import Any

from tools.sources.names.similarity import absent, same_names, same_title
from tools.sources.services.facts import Facts, Resolved
from tools.sources.services.table import BY_NAME, BY_SCHEME, SERVICES

ORDER = [service.name for service in SERVICES]
"""Whose word counts, first to last; a BibTeX file counts less than all of them."""
OF_VENUE = ("track", "volume", "number", "pages", "published")


def merge(found: Sequence[Facts], notes: Sequence[str] = ()) -> Resolved:
    """Merge what sources say of one paper; the first of `found` is the one that was named."""
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}

    def take(name: str, among: Sequence[Facts]) -> None:
        for facts in sorted(among, key=_rank):
            if value := getattr(facts, name):
                merged[name], origin[name] = value, facts.source
                return

    for name in ("title", "authors", "abstract", "submitted", "venue"):
        take(name, found)
    # What belongs to a venue comes from sources that mean the same one.
    at_venue = [facts for facts in found if merged.get("venue") == facts.venue]
    for name in ("year", *(OF_VENUE if "venue" in merged else ())):
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
    """Name who issues the identifiers of a scheme; what others say of them is a hint."""
    own = [BY_SCHEME[scheme].name] if scheme in BY_SCHEME else []
    return own + [s.name for s in SERVICES if s.registers_dois and scheme == "doi"]


def _collect(found: Sequence[Facts], name: str, origin: dict[str, str]) -> dict[str, str]:
    """Take each identifier from who issues it, else from the first source that names it."""
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
    # An abstract is shown and never kept in an entry.
    return tuple(name for name in origin if name != "abstract" and _doubted(name, origin[name]))


def _doubted(name: str, source: str) -> bool:
    hint = name == "ids.doi" and source not in _issuers("doi")
    return source not in BY_NAME or hint


def _disagreements(
    found: Sequence[Facts], facts: Facts, origin: Mapping[str, str]
) -> Iterator[str]:
    """Say in words where sources differ in title, authors, venue, year and DOI."""

    def compare(
        name: str, taken: Any, told: Iterable[tuple[str, Any]], same: Callable[[Any, Any], bool]
    ) -> Iterator[str]:
        others: dict[Any, list[str]] = {}
        for source, value in told:
            if taken and value and not same(taken, value):
                others.setdefault(value, []).append(source)
        for value, sources in others.items():
            first, second = _show(taken, value)
            yield (
                f"{name.removeprefix('ids.')}: {origin[name]} has {first}, which is taken; "
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


def _show(taken: Any, other: Any) -> tuple[str, str]:
    """Write two values that differ; of lists of names only how they differ."""
    if not isinstance(taken, tuple):
        return f"'{taken}'", f"'{other}'"
    more, less = absent(other, taken), absent(taken, other)
    parts = [
        *([f"with {_and(more)}"] if more else ()),
        *([f"without {_and(less)}"] if less else ()),
    ]
    return f"{len(taken)}", ", ".join([f"{len(other)}", *(parts or ["in another order"])])


def _and(items: Sequence[str]) -> str:
    shown = [*items[:6], f"{len(items) - 6} more"] if len(items) > 6 else [*items]
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
