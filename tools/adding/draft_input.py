"""Input of a draft: options, files, references and the answers of the sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tools.adding.draft import YOU, Draft, Value, value_problem
from tools.adding.fields import FIELDS
from tools.adding.input_files import FromFile
from tools.adding.report import plain
from tools.catalog.documents.yaml_reader import Loc, field_path
from tools.catalog.schema.identifiers import SCHEMES
from tools.sources.lookup.identification import identify
from tools.sources.names.references import Reference, Unidentified
from tools.sources.services.facts import Facts, Resolved


def add_given_facts(draft: Draft, given: Mapping[str, Value], origin: str = YOU) -> None:
    """Add facts by flag."""
    for flag, value in given.items():
        draft.offer(FIELDS[flag].loc, value, origin)


def add_file_facts(draft: Draft, file: FromFile) -> None:
    """Add the facts of a file; those of a BibTeX file stay unconfirmed."""
    for loc, value in _leaves(file.entry):
        draft.offer(loc, value, file.origin)
    add_given_facts(draft, file.given, file.origin)
    if file.facts:
        draft.sources.append(file.origin)
        draft.abstract = file.facts.abstract or ""
        for loc, value in facts_by_path(file.facts):
            draft.guess(loc, value, file.origin)


def add_reference_text(draft: Draft, text: str, origin: str = YOU) -> Reference | None:
    """Add an identifier, or the address of a page without one; raises `Unidentified`."""
    try:
        reference = identify(text)
    except Unidentified:
        if value_problem(FIELDS["paper-page"], text):
            raise
        draft.offer(FIELDS["paper-page"].loc, text, origin)
        return None
    if reference.scheme not in SCHEMES and reference.scheme != "title":
        address = text if "://" in text else f"https://{text}"
        draft.offer(FIELDS["venue-page"].loc, address, origin)
    add_reference(draft, reference, origin)
    return reference


def add_reference(draft: Draft, reference: Reference, origin: str = YOU) -> None:
    """Add the identifier or title of a reference."""
    if reference.scheme in (*SCHEMES, "title"):
        draft.offer(FIELDS[reference.scheme].loc, reference.value, origin)


def add_source_facts(draft: Draft, resolved: Resolved) -> list[str]:
    """Add the facts of the sources where no person gave one; return the contradictions."""
    draft.abstract = resolved.facts.abstract or draft.abstract
    differences = []
    for loc, value in facts_by_path(resolved.facts):
        origin = origin_of(loc, resolved)
        known = draft.get(loc)
        if known is None or loc in draft.guessed:
            draft.put(loc, value, origin)
            draft.sources += [origin] if origin not in draft.sources else []
            if _name(loc) in resolved.unverified:
                draft.guessed.add(loc)
        elif plain(known) != plain(value):
            kept = f"'{plain(known)}' ({draft.origin[loc]}) was kept"
            differences.append(f"{field_path(loc)}: {origin} has '{plain(value)}'; {kept}")
    return differences


def facts_by_path(facts: Facts) -> Iterator[tuple[Loc, Value]]:
    """Yield the facts that an entry can have, with their paths."""
    for name, value in facts:
        if name == "code":
            yield from ((("code", index, "url"), url) for index, url in enumerate(value))
        elif name != "abstract":
            yield _loc(name), list(value) if isinstance(value, tuple) else str(value)


def origin_of(loc: Loc, resolved: Resolved) -> str:
    """Return the name of the source of a fact."""
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
    """Return the name of a fact in `Facts`."""
    return "code" if loc[0] == "code" else field_path(loc)
