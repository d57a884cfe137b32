"""What was given, read from a file or resolved by the sources, taken into a draft."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tools.adding.draft import YOU, Draft, Value, fault
from tools.adding.fields import FIELDS
from tools.adding.files import FromFile
from tools.adding.report import plain
from tools.catalog.documents.yaml_reader import Loc, spell
from tools.catalog.schema.identifiers import SCHEMES
from tools.sources.lookup.identification import identify
from tools.sources.names.references import Reference, Unidentified
from tools.sources.services.facts import Facts, Resolved


def take_given(draft: Draft, given: Mapping[str, Value], origin: str = YOU) -> None:
    """Take facts by flag."""
    for flag, value in given.items():
        draft.offer(FIELDS[flag].loc, value, origin)


def take_file(draft: Draft, file: FromFile) -> None:
    """Take what a file says; facts of a BibTeX file wait for somebody to confirm them."""
    for loc, value in _leaves(file.entry):
        draft.offer(loc, value, file.origin)
    take_given(draft, file.given, file.origin)
    if file.facts:
        draft.sources.append(file.origin)
        draft.abstract = file.facts.abstract or ""
        for loc, value in located(file.facts):
            draft.guess(loc, value, file.origin)


def take_place(draft: Draft, text: str, origin: str = YOU) -> Reference | None:
    """Take an identifier, or the address of a page that holds none; raises `Unidentified`."""
    try:
        reference = identify(text)
    except Unidentified:
        if fault(FIELDS["paper-page"], text):
            raise
        draft.offer(FIELDS["paper-page"].loc, text, origin)
        return None
    if reference.scheme not in SCHEMES and reference.scheme != "title":
        address = text if "://" in text else f"https://{text}"
        draft.offer(FIELDS["venue-page"].loc, address, origin)
    take_reference(draft, reference, origin)
    return reference


def take_reference(draft: Draft, reference: Reference, origin: str = YOU) -> None:
    """Take the identifier or title that a reference is."""
    if reference.scheme in (*SCHEMES, "title"):
        draft.offer(FIELDS[reference.scheme].loc, reference.value, origin)


def take_resolved(draft: Draft, resolved: Resolved) -> list[str]:
    """Take what the sources say where no person has said it; return where one said otherwise."""
    draft.abstract = resolved.facts.abstract or draft.abstract
    differences = []
    for loc, value in located(resolved.facts):
        origin = origin_of(loc, resolved)
        said = draft.get(loc)
        if said is None or loc in draft.guessed:
            draft.put(loc, value, origin)
            draft.sources += [origin] if origin not in draft.sources else []
            if _name(loc) in resolved.unverified:
                draft.guessed.add(loc)
        elif plain(said) != plain(value):
            taken = f"'{plain(said)}' ({draft.origin[loc]}) was taken"
            differences.append(f"{spell(loc)}: {origin} has '{plain(value)}'; {taken}")
    return differences


def located(facts: Facts) -> Iterator[tuple[Loc, Value]]:
    """Yield the facts that an entry holds, with their paths in it."""
    for name, value in facts:
        if name == "code":
            yield from ((("code", index, "url"), url) for index, url in enumerate(value))
        elif name != "abstract":
            yield _loc(name), list(value) if isinstance(value, tuple) else str(value)


def origin_of(loc: Loc, resolved: Resolved) -> str:
    """Return the name of the source that a fact is from."""
    return resolved.origin.get(_name(loc), resolved.facts.source)


def _leaves(data: Mapping[str, Any], around: Loc = ()) -> Iterator[tuple[Loc, Any]]:
    for name, value in data.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*around, name))
        else:
            yield (*around, name), value


def _loc(name: str) -> Loc:
    return tuple(name.split("."))


def _name(loc: Loc) -> str:
    """Return the name that a fact goes by among the sources."""
    return "code" if loc[0] == "code" else spell(loc)
