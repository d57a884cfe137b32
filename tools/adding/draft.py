"""The draft of an entry: its facts, their origins, and what is missing or wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from tools.adding.fields import FIELDS, Field
from tools.catalog.checks.entry_checks import STUDY_FIELDS
from tools.catalog.documents.diagnostics import Problem
from tools.catalog.documents.validation import validate
from tools.catalog.documents.yaml_reader import Document, Loc, field_path, parse
from tools.catalog.entries.abstracts import fingerprint
from tools.catalog.schema.identifiers import SCHEMES
from tools.catalog.schema.paper import Paper

Value = str | list[str] | list[dict[str, Any]]
OWN_WORDS = ("tagline", "summary")
"""Facts that must not repeat the abstract."""
YOU = "you"
"""Origin of the facts that a person gave."""

CORE = ("title", "author", "kind", "tagline", "summary", "year")
TAXONOMY = ("granularity", "criterion", "calibration")
PLACES = (*SCHEMES, "venue-page", "paper-page")
PRUNES = frozenset({"method", "baseline"})
"""Kinds of work with a taxonomy."""


class EntryError(Exception):
    """An entry that cannot be written; `fields` are the paths of the invalid fields."""

    def __init__(self, message: str, fields: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.fields = frozenset(fields)


@dataclass
class Draft:
    """The fields of an entry as nested dicts, with the origin of each."""

    data: dict[str, Any] = field(default_factory=dict)
    origin: dict[Loc, str] = field(default_factory=dict)
    guessed: set[Loc] = field(default_factory=set)
    """Paths of values that neither a person nor a reliable source confirmed."""
    sources: list[str] = field(default_factory=list)
    """Names of the sources of the facts."""
    abstract: str = ""
    """Shown to the user; only its fingerprints are stored."""
    answered: set[str] = field(default_factory=set)
    """Flags of the answered questions, including skipped ones."""
    save: Callable[[], None] = field(default=lambda: None, compare=False)
    """Called after each answer."""

    def get(self, loc: Loc) -> Any:
        """Return the value at a path, or None."""
        value: Any = self.data
        for step in loc:
            try:
                value = value[step]
            except (KeyError, IndexError):
                return None
        return value

    def value(self, flag: str) -> Any:
        """Return the value of a flag, or None."""
        return self.get(FIELDS[flag].loc)

    def put(self, loc: Loc, value: Any, origin: str) -> None:
        """Set the value at a path and its origin."""
        part: Any = self.data
        for step, following in pairwise(loc):
            if isinstance(step, int):  # an index after the end appends
                if step >= len(part):
                    part.append({})
                part = part[min(step, len(part) - 1)]
            else:
                part = part.setdefault(step, [] if isinstance(following, int) else {})
        part[loc[-1]] = value
        self.origin[loc] = origin
        self.guessed.discard(loc)

    def offer(self, loc: Loc, value: Any, origin: str) -> None:
        """Set the value at a path unless there is one."""
        if self.get(loc) is None:
            self.put(loc, value, origin)

    def guess(self, loc: Loc, value: Any, origin: str) -> None:
        """Set an unconfirmed value at a path unless there is one."""
        if self.get(loc) is None:
            self.put(loc, value, origin)
            self.guessed.add(loc)

    def drop(self, loc: Loc) -> None:
        """Remove the value at a path, and containers that become empty."""
        if self.get(loc) is None:
            return
        around = self.get(loc[:-1])
        del around[loc[-1]]
        self.origin.pop(loc, None)
        self.guessed.discard(loc)
        if not around and len(loc) > 1:
            self.drop(loc[:-1])

    @property
    def has_paper(self) -> bool:
        """Whether the work needs a tagline and a status, as all but baselines do."""
        return bool(self.value("kind") != "baseline")

    @property
    def prunes(self) -> bool:
        """Whether the paper needs a taxonomy; true if its kind is unknown."""
        return self.data.get("kind", "method") in PRUNES

    def allows(self, loc: Loc) -> bool:
        """Whether works of this kind can have a field: only studies have a topic."""
        if loc[0] != "taxonomy":
            return True
        return loc[1] != "topic" if self.prunes else loc[1] in STUDY_FIELDS

    @property
    def has_place(self) -> bool:
        """Whether the paper has an identifier or a page."""
        return any(self.value(flag) for flag in PLACES)

    @property
    def has_source(self) -> bool:
        """Whether the draft names at least one source."""
        return bool(self.sources or self.value("source"))

    def missing(self) -> Iterator[Field]:
        """Yield the required facts that are missing; `arxiv` stands for any identifier."""
        required = [*CORE, *(TAXONOMY if self.prunes else ())]
        if not self.has_paper:
            required.remove("tagline")
        yield from (FIELDS[flag] for flag in required if self.value(flag) is None)
        if not self.has_place:
            yield FIELDS["arxiv"]
        if not self.has_source:
            yield FIELDS["source"]

    def complete_code(self) -> None:
        """Mark repositories as official unless the draft says otherwise: their paper names them."""
        for index in range(len(self.get(("code",)) or ())):
            self.offer(("code", index, "official"), "true", "")

    def complete(self, today: str) -> None:
        """Set the derived fields: status, ownership of the code, dates, provenance."""
        self.offer(("status",), "published" if self.data.get("venue") else "preprint", "")
        self.complete_code()
        self.offer(("added",), today, "")
        self.offer(("sources", "checked"), today, "")
        self.offer(("sources", "read"), "abstract", "")
        self.offer(("sources", "from"), self.sources, "")
        unverified = self.unverified()  # of an earlier attempt, some are answered by now
        self.drop(("sources", "unverified"))
        if unverified:
            self.put(("sources", "unverified"), unverified, "")

    def unverified(self) -> list[str]:
        """Return the unconfirmed fields as `sources.unverified` lists them."""
        named = self.get(("sources", "unverified")) or []
        guesses = [_listed(loc) for loc in self.origin if loc in self.guessed]
        answered = {_listed(FIELDS[flag].loc) for flag in self.answered}
        return [name for name in dict.fromkeys([*named, *guesses]) if name not in answered]

    def paper(self, path: Path) -> tuple[Paper | None, list[Problem]]:
        """Return the validated paper, or None and the problems."""
        return validate(Document(path, data=self.data), Paper)


def _listed(loc: Loc) -> str:
    """Return a path as `sources.unverified` lists it: a list is one field."""
    return field_path(loc).partition("[")[0]


def value_problem(field: Field, value: Value) -> str | None:
    """Return the problem of a value and how to fix it, or None."""
    draft = Draft()
    draft.put(field.loc, value, "")
    _, problems = draft.paper(Path())
    path = field_path(field.loc)
    for problem in problems:
        if problem.field.startswith(path):
            return f"{problem.message}; {problem.advice}" if problem.advice else problem.message
    return None


def is_copied(text: str, abstract: str) -> bool:
    """Whether a text shares consecutive words with the abstract, which is under copyright."""
    return not set(fingerprint(text)).isdisjoint(fingerprint(abstract))


def parse_answer(field: Field, text: str) -> Value:
    """Parse an answer; lists are separated by commas, authors also by `and`."""
    if not field.many:
        return normalize_value(field, text)
    text = text.replace(" and ", ",") if field.flag == "author" else text
    return normalize_value(field, [part for part in text.split(",") if part.strip()])


def normalize_value(field: Field, value: str | list[str]) -> Value:
    """Return a value with single spaces, and synonyms replaced by their term.

    Raises:
        EntryError: a value that needs fields of its own does not have the form `name: value`.
    """
    if isinstance(value, str):
        return _normalize_text(field, value)
    if field.mapping:
        return [_mapping(one) for one in value]
    return [_normalize_text(field, one) for one in value]


def _normalize_text(field: Field, text: str) -> str:
    tidy = " ".join(text.split())
    return (field.words.find(tidy) if field.words else None) or tidy


def _mapping(text: str) -> dict[str, Any]:
    document = parse(f"given: {{{text}}}\n", Path("given"))
    given = document.data.get("given")
    if document.problems or not isinstance(given, dict):
        raise EntryError(f"'{text}' must have the form `name: value, name: value`")
    return given
