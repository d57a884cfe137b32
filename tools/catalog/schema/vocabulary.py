"""The controlled words of the catalog, each defined in `catalog/vocabulary/<name>.yaml`."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, dataclasses
from pydantic_core import PydanticCustomError

from tools.catalog.documents.diagnostics import CatalogError, Problem
from tools.catalog.documents.validation import validate
from tools.catalog.documents.yaml_reader import Document, read
from tools.catalog.schema.field_types import Checked, Decimal, Flag, Strict
from tools.repository import REPOSITORY

VOCABULARY = REPOSITORY / "catalog" / "vocabulary"
FEW = 15
"""Words that can be listed in a sentence."""
UNKNOWN = "unknown"
"""The word of a field for what was not said in what was read."""


@dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Term:
    """One word: how to write it for readers, what it means, what else it is called."""

    word: str
    label: str
    definition: str
    synonyms: tuple[str, ...] = ()
    journal: Flag = False
    """Of a venue: whether it is a journal."""
    low: Decimal | None = None
    high: Decimal | None = None
    """Of a metric: the range of its values."""
    better: Literal["lower", "higher"] | None = None
    """Of a metric, which says it always: the better end of its values."""


def _told_their_words(terms: Any) -> Any:
    """Give each word its own name, which is its label too where there is no other."""
    if not isinstance(terms, dict):
        return terms
    return {
        word: {"label": word, **about, "word": word} if isinstance(about, dict) else about
        for word, about in terms.items()
    }


class Words(Strict):
    """The words of one field, in the order of their file."""

    about: str
    terms: Annotated[dict[str, Term], BeforeValidator(_told_their_words)] = Field(alias="words")

    def called(self, written: str) -> str | None:
        """Return the word of that name: itself, its label or a synonym."""
        return self._by_name().get(fold(written))

    def suggest(self, written: str) -> str | None:
        """Return the word that somebody probably meant, by name first and then by spelling."""
        names = self._by_name()
        close = difflib.get_close_matches(fold(written), names, n=1, cutoff=0.75)
        return self.called(written) or (names[close[0]] if close else None)

    def _by_name(self) -> dict[str, str]:
        return {fold(name): term.word for term in self.terms.values() for name in _names(term)}


def fold(text: str) -> str:
    """Reduce spellings to one: lower case, words parted by single spaces."""
    return " ".join("".join(c if c.isalnum() or c in ":" else " " for c in text.lower()).split())


def _names(term: Term) -> tuple[str, ...]:
    return (term.word, term.label, *term.synonyms)


@cache
def vocabulary(folder: Path = VOCABULARY) -> Mapping[str, Words]:
    """Read all words, by field; raises `CatalogError` with every problem of every file."""
    problems: list[Problem] = []
    made = {}
    for path in sorted(folder.glob("*.yaml")):
        document = read(path, path.relative_to(REPOSITORY) if folder == VOCABULARY else path)
        words, found = validate(document, Words, "a word")
        if words:
            found = list(_shared(document, words))
            found += _undirected(document, words) if path.stem == "metrics" else ()
            made[path.stem] = words
        problems += found
    if problems:
        raise CatalogError(problems)
    return made


def _shared(document: Document, words: Words) -> Iterator[Problem]:
    """Find names that two words have."""
    owners: dict[str, str] = {}
    for word, term in words.terms.items():
        for name in sorted(set(map(fold, _names(term)))):
            other = owners.setdefault(name, word)
            if other != word:
                message = f"'{name}' means both {other} and {word}"
                yield document.problem(("words", word), message, "keep it at one")


def _undirected(document: Document, words: Words) -> Iterator[Problem]:
    """Find metrics that do not say which way is better."""
    for word, term in words.terms.items():
        if term.better is None:
            message, advice = "the field better is missing", "write lower or higher"
            yield document.problem(("words", word), message, advice)


@dataclass(frozen=True)
class Word(Checked):
    """Annotation of a field that holds one word of the vocabulary `name`."""

    name: str

    def described(self) -> dict[str, Any]:
        """Return one alternative a word, for editors show the definition of each."""
        terms = vocabulary()[self.name].terms.values()
        return {"oneOf": [{"const": term.word, "description": term.definition} for term in terms]}

    def check(self, value: str) -> str:
        """Return a word of the vocabulary; raises `PydanticCustomError` for any other."""
        words = vocabulary()[self.name]
        if value in words.terms:
            return value
        file = f"catalog/vocabulary/{self.name}.yaml"
        if meant := words.suggest(value):
            advice = f"did you mean {meant}?"
        elif len(words.terms) <= FEW:
            advice = f"use one of {', '.join(words.terms)}, or define it in {file}"
        else:
            advice = f"see {file}, and define it there if it is missing"
        raise PydanticCustomError(
            "word",
            "'{written}' is not a word of {name}",
            {"written": value, "name": f"vocabulary/{self.name}.yaml", "advice": advice},
        )
