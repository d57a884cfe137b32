"""The draft of a record: facts of the sources, and unverified facts of the list."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tools.adding.checks import today
from tools.adding.draft import Draft
from tools.adding.draft_input import add_source_facts
from tools.catalog.checks import entry_checks
from tools.catalog.documents.diagnostics import Level, Problem
from tools.catalog.documents.validation import validate
from tools.catalog.documents.yaml_reader import Document, Loc
from tools.catalog.entries.loader import Entry
from tools.catalog.schema.paper import Paper, Taxonomy
from tools.catalog.schema.vocabulary import vocabulary
from tools.importing.record import Record
from tools.importing.record_facts import LIST, unknown_venue, was_found
from tools.sources.services.facts import Resolved

WORDS: dict[str, Loc] = {
    "kind": ("kind",),
    "role": ("role",),
    **{name: ("taxonomy", name) for name in Taxonomy.model_fields},
}
"""Fields of a record with vocabulary terms, and their paths in an entry."""
PLACEHOLDERS = {"summary": "To be written.", "kind": "method", "status": "accepted"}
"""Values for required fields that a draft may lack, used to validate the rest."""
UNCHECKED = ("", *PLACEHOLDERS, "role", "taxonomy", "sources")
"""Fields that a person still has to write; their problems are not reported."""


def build_draft(record: Record, resolved: Resolved) -> tuple[Draft, list[str]]:
    """Return the draft of a record, and notes on the facts that were left out.

    `resolved` are the merged facts of the record and of the queried sources.
    """
    draft = Draft()
    add_source_facts(draft, resolved)
    if record.title in (draft.get(("other_titles",)) or ()):
        draft.guessed.add(("other_titles",))  # no source confirms the title of the list
    notes = [*_add_code(draft, record), *_add_words(draft, record)]
    _add_status(draft, record, resolved)
    lists = record.sources or ("a collected list",)
    draft.offer(("added",), today(), "")
    draft.offer(("sources", "checked"), today(), "")
    sources = [source for source in draft.sources if source != LIST]
    draft.offer(("sources", "from"), [*sources, *(lists if draft.guessed else ())], "")
    if names := draft.unverified():
        draft.put(("sources", "unverified"), names, "")
    return draft, notes


def _add_code(draft: Draft, record: Record) -> Iterator[str]:
    """Add the repository of the record if no source names one."""
    named = [str(code["url"]) for code in draft.get(("code",)) or ()]
    draft.complete_code()
    if record.code is None:
        return
    if not named:
        draft.guess(("code", 0, "url"), record.code, LIST)
        if record.code_official is not None:
            draft.guess(("code", 0, "official"), str(record.code_official).lower(), LIST)
    elif _normalized(record.code) not in map(_normalized, named):
        origin = draft.origin["code", 0, "url"]
        yield f"code: {origin} has {named[0]}, which is used; {LIST} has {record.code}"


def _normalized(url: str) -> str:
    return url.lower().rstrip("/").removesuffix(".git")


def _add_words(draft: Draft, record: Record) -> Iterator[str]:
    """Add the vocabulary terms of the record as guesses; yield a note for each unknown one."""
    for name, loc in WORDS.items():
        value = getattr(record, name)
        given = [value] if isinstance(value, str) else list(value or ())
        known = [word for word in given if word in vocabulary()[name].terms]
        if unknown := [word for word in given if word not in known]:
            yield f"{name}: '{', '.join(unknown)}' is not in vocabulary/{name}.yaml, left out"
        if known and not draft.allows(loc):
            yield f"{name}: '{', '.join(known)}' left out, because this kind of work has no {name}"
        elif known:
            draft.guess(loc, known[0] if isinstance(value, str) else known, LIST)


def _add_status(draft: Draft, record: Record, resolved: Resolved) -> None:
    """Set the status, unless it depends on a venue that the vocabulary does not have."""
    venue = draft.get(("venue",))
    if venue is None and unknown_venue(record):
        return
    uncertain = ("venue",) in draft.guessed if venue else not was_found(resolved)
    add = draft.guess if uncertain else draft.offer
    add(("status",), "published" if venue else "preprint", "")


def problems(draft: Draft, path: Path) -> tuple[list[Problem], list[Problem]]:
    """Return the problems that make a draft invalid, and the errors that the checks would report.

    Fields that a person still has to write are not checked.
    """
    data = {**PLACEHOLDERS, **draft.data}
    if code := data.get("code"):
        data["code"] = [{"official": "true", **one} for one in code]
    document = Document(path, data=data)
    paper, found = validate(document, Paper)
    if paper is None:
        return found, []
    entry = Entry(path.stem, paper, document)
    return [], [
        problem
        for check in entry_checks.CHECKS
        for problem in check(entry)
        if problem.level is Level.ERROR and problem.field.partition(".")[0] not in UNCHECKED
    ]
