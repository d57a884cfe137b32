"""The draft of an entry: what sources say as fact, what only a list says as not verified."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tools.adding.checks import today
from tools.adding.draft import Draft
from tools.adding.intake import take_resolved
from tools.catalog.checks import entry_checks
from tools.catalog.documents.diagnostics import Level, Problem
from tools.catalog.documents.validation import validate
from tools.catalog.documents.yaml_reader import Document, Loc
from tools.catalog.entries.loader import Entry
from tools.catalog.entries.writer import canonical
from tools.catalog.schema.paper import Paper, Taxonomy
from tools.catalog.schema.vocabulary import vocabulary
from tools.importing.facts import LIST, unknown_venue, was_found
from tools.importing.record import Record
from tools.sources.services.facts import Resolved

WORDS: dict[str, Loc] = {
    "kind": ("kind",),
    "role": ("role",),
    **{name: ("taxonomy", name) for name in Taxonomy.model_fields},
}
"""Fields of a record that hold words of the vocabulary, and where they go in an entry."""
TO_WRITE = {"summary": "To be written.", "kind": "method", "status": "accepted"}
"""What an entry has and a draft may lack, as it might be written."""
OF_WRITERS = ("", *TO_WRITE, "role", "taxonomy", "sources")
"""Fields of which nothing is said before somebody has written them."""


def make_draft(record: Record, resolved: Resolved) -> tuple[Draft, list[str]]:
    """Make the draft of a record; returns with it what was left out, and what else is to be seen.

    `resolved` are the facts of the record and of all sources that were asked.
    """
    draft = Draft()
    take_resolved(draft, resolved)
    if record.title in (draft.get(("other_titles",)) or ()):
        draft.guessed.add(("other_titles",))  # perhaps no version ever had it
    notes = [*_take_code(draft, record), *_take_words(draft, record)]
    _take_status(draft, record, resolved)
    seen = record.sources or ("a gathered list",)
    draft.offer(("added",), today(), "")
    draft.offer(("sources", "checked"), today(), "")
    # Kind and taxonomy are from the list whatever else is.
    looked_at = [source for source in draft.sources if source != LIST]
    draft.offer(("sources", "from"), [*looked_at, *(seen if draft.guessed else ())], "")
    if names := draft.unverified():
        draft.put(("sources", "unverified"), names, "")
    return draft, notes


def _take_code(draft: Draft, record: Record) -> Iterator[str]:
    """Take the repository of a record where no source names one."""
    named = [str(code["url"]) for code in draft.get(("code",)) or ()]
    for index in range(len(named)):
        draft.offer(("code", index, "official"), "true", "")
    if record.code is None:
        return
    if not named:
        draft.guess(("code", 0, "url"), record.code, LIST)
        if record.code_official is not None:
            draft.guess(("code", 0, "official"), str(record.code_official).lower(), LIST)
    elif _plain(record.code) not in map(_plain, named):
        origin = draft.origin["code", 0, "url"]
        yield f"code: {origin} has {named[0]}, which is taken; {LIST} has {record.code}"


def _plain(url: str) -> str:
    return url.lower().rstrip("/").removesuffix(".git")


def _take_words(draft: Draft, record: Record) -> Iterator[str]:
    """Guess the words of a record that are of the vocabulary, and say which are not."""
    for name, loc in WORDS.items():
        value = getattr(record, name)
        given = [value] if isinstance(value, str) else list(value or ())
        known = [word for word in given if word in vocabulary()[name].terms]
        if unknown := [word for word in given if word not in known]:
            yield f"{name}: '{', '.join(unknown)}' not in vocabulary/{name}.yaml, left out"
        if known and not draft.may_say(loc):
            yield f"{name}: '{', '.join(known)}' left out, as works of this kind have none"
        elif known:
            draft.guess(loc, known[0] if isinstance(value, str) else known, LIST)


def _take_status(draft: Draft, record: Record, resolved: Resolved) -> None:
    """Say where the work stands, unless that hangs on a venue that has no word yet."""
    venue = draft.get(("venue",))
    if venue is None and unknown_venue(record):
        return
    doubted = ("venue",) in draft.guessed if venue else not was_found(resolved)
    take = draft.guess if doubted else draft.offer
    take(("status",), "published" if venue else "preprint", "")


def text_of(draft: Draft) -> str:
    """Write a draft as the text of its file."""
    return canonical(Document(Path("draft"), data=draft.data))


def problems(draft: Draft, path: Path) -> tuple[list[Problem], list[Problem]]:
    """Return why a draft could not become an entry at all, and what else the checks would say.

    What is still to be written is not missed.
    """
    written = {**TO_WRITE, **draft.data}
    if code := written.get("code"):
        written["code"] = [{"official": "true", **one} for one in code]
    document = Document(path, data=written)
    paper, found = validate(document, Paper)
    if paper is None:
        return found, []
    entry = Entry(path.stem, paper, document)
    said = [problem for check in entry_checks.CHECKS for problem in check(entry)]
    return [], [
        problem
        for problem in said
        if problem.level is Level.ERROR and problem.field.partition(".")[0] not in OF_WRITERS
    ]
