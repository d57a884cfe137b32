"""The controlled vocabulary of the catalog, defined in `catalog/vocabulary/<name>.yaml`."""

from __future__ import annotations

import difflib
import unicodedata
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
from tools.catalog.schema.field_types import Decimal, Flag, StrictModel, TextCheck
from tools.repository import REPOSITORY

VOCABULARY = REPOSITORY / "catalog" / "vocabulary"
MAX_LISTED = 15
"""Maximum number of terms listed in a message."""
UNKNOWN = "unknown"
"""The term for a fact that the sources do not give."""


@dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Term:
    """One term: its label for readers, its definition and its synonyms."""

    word: str
    label: str
    definition: str
    synonyms: tuple[str, ...] = ()
    journal: Flag = False
    """Whether a venue is a journal."""
    low: Decimal | None = None
    high: Decimal | None = None
    """The range of the values of a metric."""
    better: Literal["lower", "higher"] | None = None
    """The better direction of a metric; required for metrics."""


def _with_words(terms: Any) -> Any:
    """Add to each term its word, which is also the default label."""
    if not isinstance(terms, dict):
        return terms
    return {
        word: {"label": word, **about, "word": word} if isinstance(about, dict) else about
        for word, about in terms.items()
    }


class Words(StrictModel):
    """The terms of one field, in the order of their file."""

    about: str
    terms: Annotated[dict[str, Term], BeforeValidator(_with_words)] = Field(alias="words")

    def find(self, written: str) -> str | None:
        """Return the word of a term, given its word, label or a synonym."""
        return self._by_name().get(fold(written))

    def suggest(self, written: str) -> str | None:
        """Return the word of the term with this name or a similar one."""
        names = self._by_name()
        close = difflib.get_close_matches(fold(written), names, n=1, cutoff=0.75)
        return self.find(written) or (names[close[0]] if close else None)

    def _by_name(self) -> dict[str, str]:
        return {fold(name): term.word for term in self.terms.values() for name in _names(term)}


def fold(text: str) -> str:
    """Normalise a text for comparison: lower case, no punctuation but colons, single spaces.

    Letters of full width and ligatures count as the plain letters (NFKC).
    """
    plain = unicodedata.normalize("NFKC", text).lower()
    return " ".join("".join(c if c.isalnum() or c in ":" else " " for c in plain).split())


def _names(term: Term) -> tuple[str, ...]:
    return (term.word, term.label, *term.synonyms)


@cache
def vocabulary(folder: Path = VOCABULARY) -> Mapping[str, Words]:
    """Return all terms by field; raises `CatalogError` with the problems of all files."""
    problems: list[Problem] = []
    words_by_field = {}
    for path in sorted(folder.glob("*.yaml")):
        document = read(path, path.relative_to(REPOSITORY) if folder == VOCABULARY else path)
        words, found = validate(document, Words, "a term")
        if words:
            found = list(_shared_names(document, words))
            found += _without_direction(document, words) if path.stem == "metrics" else ()
            words_by_field[path.stem] = words
        problems += found
    if problems:
        raise CatalogError(problems)
    return words_by_field


def _shared_names(document: Document, words: Words) -> Iterator[Problem]:
    """Find names shared by two terms."""
    owners: dict[str, str] = {}
    for word, term in words.terms.items():
        for name in sorted(set(map(fold, _names(term)))):
            other = owners.setdefault(name, word)
            if other != word:
                message = f"'{name}' is a name of both {other} and {word}"
                yield document.problem(("words", word), message, "remove it from one of them")


def _without_direction(document: Document, words: Words) -> Iterator[Problem]:
    """Find metrics without the field `better`."""
    for word, term in words.terms.items():
        if term.better is None:
            message, advice = "the field better is missing", "write lower or higher"
            yield document.problem(("words", word), message, advice)


@dataclass(frozen=True)
class Word(TextCheck):
    """Annotation of a field with one term of the vocabulary `name`."""

    name: str

    def json_schema(self) -> dict[str, Any]:
        """Return one alternative per term, so that editors show its definition."""
        terms = vocabulary()[self.name].terms.values()
        return {"oneOf": [{"const": term.word, "description": term.definition} for term in terms]}

    def check(self, value: str) -> str:
        """Return a term of the vocabulary; raises `PydanticCustomError` otherwise."""
        words = vocabulary()[self.name]
        if value in words.terms:
            return value
        file = f"catalog/vocabulary/{self.name}.yaml"
        if meant := words.suggest(value):
            advice = f"did you mean {meant}?"
        elif len(words.terms) <= MAX_LISTED:
            advice = f"use one of {', '.join(words.terms)}, or define it in {file}"
        else:
            advice = f"see {file}, and define it there if it is missing"
        raise PydanticCustomError(
            "word",
            "'{written}' is not a term of {name}",
            {"written": value, "name": f"vocabulary/{self.name}.yaml", "advice": advice},
        )
