"""An entry in the making: facts with where each came from, and what is still missing or wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from rapidfuzz import fuzz

from tools.adding.fields import FIELDS, Field
from tools.catalog.documents.diagnostics import Problem
from tools.catalog.documents.validation import validate
from tools.catalog.documents.yaml_reader import Document, Loc, spell
from tools.catalog.schema.identifiers import SCHEMES
from tools.catalog.schema.paper import Paper

Value = str | list[str]

CORE = ("title", "author", "kind", "summary", "year")
TAXONOMY = ("granularity", "criterion", "calibration")
PLACES = (*SCHEMES, "venue-page", "paper-page")
PRUNES = frozenset({"method", "baseline"})
"""Kinds of work that have a place in the taxonomy."""

SHORTEST_COPY = 60
COPY = 90
"""Characters, and per cent of them in the same order, from which on a summary is a copy."""


class Refused(Exception):
    """Why no entry is written, and the way out."""


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
    """To be read while answering; never written."""

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
            for loc in [loc for loc in self.origin if loc[0] == "taxonomy"]:
                self.drop(loc)
        self.offer(("status",), "published" if self.data.get("venue") else "preprint", "")
        for index in range(len(self.data.get("code", ()))):
            self.offer(("code", index, "official"), "true", "")
        self.offer(("added",), today, "")
        self.offer(("sources", "checked"), today, "")
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
    """Whether a summary is a piece of the abstract, which is not ours to publish."""
    return len(summary) >= SHORTEST_COPY and fuzz.partial_ratio(summary, abstract) >= COPY


def split(field: Field, text: str) -> Value:
    """Read an answer: one value, or several parted by commas, or authors parted by `and`."""
    if not field.many:
        return " ".join(text.split())
    text = text.replace(" and ", ",") if field.flag == "author" else text
    parts = (" ".join(part.split()) for part in text.split(","))
    return [part for part in parts if part]
