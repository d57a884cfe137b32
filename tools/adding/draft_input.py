"""Input of a draft: options, files, references and the answers of the sources."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from implementations.harness.errors import BadInput
from implementations.harness.results.reading import read_text
from tools.adding.draft import YOU, Draft, EntryError, Value, parse_answer, value_problem
from tools.adding.fields import FIELDS, Field
from tools.adding.messages import plain
from tools.catalog.documents.validation import validate
from tools.catalog.documents.yaml_reader import MAX_BYTES, Loc, field_path, parse
from tools.catalog.schema.identifiers import SCHEMES
from tools.catalog.schema.paper import Paper
from tools.sources.lookup.identification import identify
from tools.sources.lookup.queries import read_bibtex
from tools.sources.merge import VENUE_FACTS
from tools.sources.names.references import Reference, Unidentified
from tools.sources.services.facts import Facts, Resolved

FORM = "issue form"
IDENTIFIER = "Identifier"
BLANK = frozenset({"", "_No response_", "None", "N/A"})
"""The text of an empty answer in an issue form."""


def add_given_facts(draft: Draft, given: Mapping[str, Value], origin: str = YOU) -> None:
    """Add facts by flag."""
    for flag, value in given.items():
        draft.offer(FIELDS[flag].loc, value, origin)


def add_file(draft: Draft, path: Path) -> Reference | Facts | None:
    """Add the facts of a file, read according to its extension; return what to look up, if known.

    Raises `EntryError` if the file cannot be used.
    """
    add = READERS.get(path.suffix.lower())
    if not add:
        raise EntryError(f"{path} has an unknown extension; use one of {', '.join(READERS)}")
    try:
        text = read_text(path, MAX_BYTES)
    except BadInput as error:
        raise EntryError(str(error)) from None
    return add(draft, text, path)


def _add_bibtex(draft: Draft, text: str, path: Path) -> Facts:
    """Add the facts of a BibTeX entry, which stay unconfirmed."""
    facts = read_bibtex(text)
    draft.sources.append(facts.source)
    draft.abstract = facts.abstract or ""
    for loc, value in facts_by_path(facts):
        # Without a known venue, these are of a preprint server or of an unknown journal.
        if facts.venue or loc[0] not in VENUE_FACTS:
            draft.guess(loc, value, facts.source)
    return facts


def _add_form(draft: Draft, text: str, path: Path) -> Reference | None:
    """Add the answers of a filled-in issue form."""
    identifier, given = read_form(text)
    add_given_facts(draft, given, FORM)
    return add_reference_text(draft, identifier, FORM) if identifier else None


def _add_entry(draft: Draft, text: str, path: Path) -> None:
    """Add the fields of an entry or a draft; missing fields are asked for later."""
    document = parse(text, path)
    _, all_problems = validate(document, Paper)
    missing = re.compile(r"the field \S+ is missing")
    problems = [one for one in all_problems if not missing.fullmatch(one.message)]
    if problems:
        raise EntryError("\n".join(map(str, problems)))
    for loc, value in _leaves(document.data):
        draft.offer(loc, value, "entry")
    if gaps := list(_unasked(draft)):
        raise EntryError("\n".join(f"{path}: {gap}" for gap in gaps))


def _unasked(draft: Draft) -> Iterator[str]:
    """Yield the missing fields that no question asks for; the draft must not guess them."""
    if draft.has_paper and not draft.value("status"):
        yield "status is missing; write preprint, accepted or published"
    for index, code in enumerate(draft.data.get("code", ())):
        if ("code",) in draft.origin and "official" not in code:
            advice = "write true if it belongs to the authors, else false"
            yield f"code[{index}].official is missing; {advice}"


READERS: Mapping[str, Callable[[Draft, str, Path], Reference | Facts | None]] = {
    **dict.fromkeys((".bib", ".bibtex"), _add_bibtex),
    **dict.fromkeys((".md", ".markdown", ".txt"), _add_form),
    **dict.fromkeys((".yaml", ".yml"), _add_entry),
}
"""Readers by file extension."""


def read_form(text: str) -> tuple[str, dict[str, Value]]:
    """Return the identifier in a filled-in issue form, and the other answers by flag.

    GitHub renders a form as headings, which are the capitalised flags, each followed by an answer.
    Raises `EntryError` for a text without answers, and for an unknown heading, so that no answer is
    lost.
    """
    parts = re.split(r"^### +(\S.*)$", text.replace("\r\n", "\n"), flags=re.MULTILINE)
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    answers = {name.rstrip(): text.strip() for name, text in pairs if text.strip() not in BLANK}
    if not answers:
        raise EntryError("the file has no answers; a filled-in form has lines such as `### Title`")
    identifier = " ".join(answers.pop(IDENTIFIER, "").split())
    by_flag: dict[str, Value] = {}
    for heading, answer in answers.items():
        field = FIELDS.get(heading.lower().replace(" ", "-"))
        if field is None:
            raise EntryError(
                f"the form has no heading '{heading}'; remove it, or move its text to Note"
            )
        by_flag[field.flag] = _form_answer(field, answer)
    return identifier, by_flag


def _form_answer(field: Field, answer: str) -> Value:
    """Read one answer: lists have one item per line, selected terms are comma-separated."""
    if field.words:
        # Options explain their term in parentheses: `none (no data at all)`.
        answer = re.sub(r" \([^()]*\)", "", answer)
    return parse_answer(field, answer.replace("\n", ",") if field.many else answer)


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
    code = FIELDS["code"].loc
    has_code = draft.get(code) is not None and code not in draft.guessed
    for loc, value in facts_by_path(resolved.facts):
        if loc[0] == "code" and has_code:
            continue
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
            path = tuple(name.split("."))
            yield path, list(value) if isinstance(value, tuple) else str(value)


def origin_of(loc: Loc, resolved: Resolved) -> str:
    """Return the name of the source of a fact."""
    return resolved.origin.get(_name(loc), resolved.facts.source)


def _leaves(data: Mapping[str, Any], around: Loc = ()) -> Iterator[tuple[Loc, Any]]:
    for name, value in data.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*around, name))
        else:
            yield (*around, name), value


def _name(loc: Loc) -> str:
    """Return the name of a fact in `Facts`."""
    return "code" if loc[0] == "code" else field_path(loc)
