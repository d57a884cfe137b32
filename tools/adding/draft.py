"""An entry in the making: facts with where each came from, and what is still missing or wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from tools.adding.fields import FIELDS, Field
from tools.catalog.checks.entry_checks import OF_STUDIES
from tools.catalog.documents.diagnostics import Problem
from tools.catalog.documents.validation import validate
from tools.catalog.documents.yaml_reader import Document, Loc, parse, spell
from tools.catalog.entries.abstracts import fingerprint
from tools.catalog.schema.identifiers import SCHEMES
from tools.catalog.schema.paper import Paper

Value = str | list[str] | list[dict[str, Any]]
YOU = "you"
"""Origin of what a person said."""

CORE = ("title", "author", "kind", "summary", "year")
TAXONOMY = ("granularity", "criterion", "calibration")
PLACES = (*SCHEMES, "venue-page", "paper-page")
PRUNES = frozenset({"method", "baseline"})
"""Kinds of work that have a place in the taxonomy."""


class Refused(Exception):
    """Why no entry is written, and the way out; `fields` are the paths of what is wrong."""

    def __init__(self, message: str, fields: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.fields = frozenset(fields)


@dataclass
class Draft:
    """The fields of an entry as nested dicts, and the origin of each."""

    data: dict[str, Any] = field(default_factory=dict)
    origin: dict[Loc, str] = field(default_factory=dict)
    guessed: set[Loc] = field(default_factory=set)
    """Values that no person and no good source has confirmed."""
    sources: list[str] = field(default_factory=list)
    """What was looked at."""
    abstract: str = ""
    """To be read while answering; of what is written, only marks come from it."""
    answered: set[str] = field(default_factory=set)
    """Flags of the questions that a person answered, also with nothing."""
    keep: Callable[[], None] = field(default=lambda: None, compare=False)
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
        """Return the value that a flag would set, or None."""
        return self.get(FIELDS[flag].loc)

    def put(self, loc: Loc, value: Any, origin: str) -> None:
        """Set the value at a path and note where it came from."""
        part: Any = self.data
        for step, following in pairwise(loc):
            if isinstance(step, int):
                part += [{}] * (step + 1 - len(part))
                part = part[step]
            else:
                part = part.setdefault(step, [] if isinstance(following, int) else {})
        part[loc[-1]] = value
        self.origin[loc] = origin
        self.guessed.discard(loc)

    def offer(self, loc: Loc, value: Any, origin: str) -> None:
        """Set the value at a path that has none yet."""
        if self.get(loc) is None:
            self.put(loc, value, origin)

    def guess(self, loc: Loc, value: Any, origin: str) -> None:
        """Set the value at a path that has none yet, to be confirmed by a person."""
        if self.get(loc) is None:
            self.put(loc, value, origin)
            self.guessed.add(loc)

    def drop(self, loc: Loc) -> None:
        """Remove the value at a path, and the part around it if that is empty then."""
        if self.get(loc) is None:
            return
        around = self.get(loc[:-1])
        del around[loc[-1]]
        self.origin.pop(loc, None)
        self.guessed.discard(loc)
        if not around and len(loc) > 1:
            self.drop(loc[:-1])

    @property
    def prunes(self) -> bool:
        """Whether the paper needs a taxonomy; one of unknown kind does."""
        return self.data.get("kind", "method") in PRUNES

    def may_say(self, loc: Loc) -> bool:
        """Whether works of its kind say such a thing: of a method it is all but a topic."""
        if loc[0] != "taxonomy":
            return True
        return loc[1] != "topic" if self.prunes else loc[1] in OF_STUDIES

    @property
    def placed(self) -> bool:
        """Whether there is an identifier or a page of the paper."""
        return any(self.value(flag) for flag in PLACES)

    @property
    def sourced(self) -> bool:
        """Whether it is said what was looked at."""
        return bool(self.sources or self.value("source"))

    def missing(self) -> Iterator[Field]:
        """Yield the needed facts that are not there; where any identifier will do, the first."""
        wanted = [*CORE, *(TAXONOMY if self.prunes else ())]
        yield from (FIELDS[flag] for flag in wanted if self.value(flag) is None)
        if not self.placed:
            yield FIELDS["arxiv"]
        if not self.sourced:
            yield FIELDS["source"]

    def complete(self, today: str) -> None:
        """Set what follows from the rest: status, kind of code, dates, provenance."""
        if not self.prunes:
            for loc in [loc for loc in self.guessed if loc[0] == "taxonomy"]:
                self.drop(loc)
        self.offer(("status",), "published" if self.data.get("venue") else "preprint", "")
        for index in range(len(self.data.get("code", ()))):
            self.offer(("code", index, "official"), "true", "")
        self.offer(("added",), today, "")
        self.offer(("sources", "checked"), today, "")
        # What nobody said is taken as the least.
        self.offer(("sources", "read"), "abstract", "")
        self.offer(("sources", "from"), self.sources, "")
        if names := self.unverified():
            self.put(("sources", "unverified"), names, "")

    def unverified(self) -> list[str]:
        """Return the fields that nobody has confirmed, as `sources.unverified` names them."""
        named = self.get(("sources", "unverified")) or []
        # An entry is read top to bottom, and so is this list.
        guesses = [spell(loc).partition("[")[0] for loc in self.origin if loc in self.guessed]
        return list(dict.fromkeys([*named, *guesses]))

    def paper(self, path: Path) -> tuple[Paper | None, list[Problem]]:
        """Make the paper; with any problem there is none."""
        return validate(Document(path, data=self.data), Paper)


def fault(field: Field, value: Value) -> str | None:
    """Say what is wrong with a value for a field and what to do, or nothing."""
    draft = Draft()
    draft.put(field.loc, value, "")
    _, problems = draft.paper(Path())
    path = spell(field.loc)
    for problem in problems:
        if problem.field.startswith(path):
            return f"{problem.message}; {problem.advice}" if problem.advice else problem.message
    return None


def copied(summary: str, abstract: str) -> bool:
    """Whether a summary shares a run of words with the abstract, which is not ours to publish."""
    return not set(fingerprint(summary)).isdisjoint(fingerprint(abstract))


def split(field: Field, text: str) -> Value:
    """Read an answer: one value, or several parted by commas, or authors parted by `and`."""
    if not field.many:
        return settled(field, text)
    text = text.replace(" and ", ",") if field.flag == "author" else text
    return settled(field, [part for part in text.split(",") if part.strip()])


def settled(field: Field, value: str | list[str]) -> Value:
    """Return a value as an entry holds it: spaces tidied, synonyms as the word they stand for.

    Raises:
        Refused: it should have fields of its own and does not read as such.
    """
    if isinstance(value, str):
        return _settled(field, value)
    if field.mapping:
        return [_mapping(one) for one in value]
    return [_settled(field, one) for one in value]


def _settled(field: Field, text: str) -> str:
    tidy = " ".join(text.split())
    return (field.words.called(tidy) if field.words else None) or tidy


def _mapping(text: str) -> dict[str, Any]:
    document = parse(f"given: {{{text}}}\n", Path("given"))
    given = document.data.get("given")
    if document.problems or not isinstance(given, dict):
        raise Refused(f"'{text}' does not read as `name: value, name: value`")
    return given
