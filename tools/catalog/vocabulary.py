"""The controlled words of the catalog, each defined in `catalog/vocabulary/<name>.yaml`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic_core import PydanticCustomError

from tools.catalog.annotation import Checked
from tools.catalog.problems import CatalogError, Problem
from tools.catalog.reader import Document, Loc, read

REPOSITORY = Path(__file__).resolve().parents[2]
VOCABULARY = REPOSITORY / "catalog" / "vocabulary"


@dataclass(frozen=True)
class Term:
    """One word: how to write it for readers, what it means, what else it is called."""

    word: str
    label: str
    definition: str
    synonyms: tuple[str, ...] = ()
    journal: bool = False
    """Of a venue: whether it is a journal."""


@dataclass(frozen=True)
class Words:
    """The words of one field, in the order of their file."""

    name: str
    about: str
    terms: Mapping[str, Term]

    def suggest(self, written: str) -> str | None:
        """Return the word that somebody probably meant, by synonym first and then by spelling."""
        plain = fold(written)
        names = {fold(name): term.word for term in self.terms.values() for name in _names(term)}
        close = difflib.get_close_matches(plain, names, n=1, cutoff=0.75)
        return names.get(plain) or (names[close[0]] if close else None)


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
        found = document.problems or list(_problems(document))
        problems += found
        if not found:
            made[path.stem] = _words(path.stem, document.data)
    if problems:
        raise CatalogError(problems)
    return made


def _words(name: str, data: Mapping[str, Any]) -> Words:
    terms = {
        word: Term(
            word,
            label=about.get("label", word),
            definition=about["definition"],
            synonyms=tuple(about.get("synonyms", ())),
            journal=about.get("journal") == "true",
        )
        for word, about in data["words"].items()
    }
    return Words(name, data["about"], terms)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


SHAPES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "definition": (_is_text, "a sentence"),
    "label": (_is_text, "a text"),
    "synonyms": (lambda value: isinstance(value, list) and all(map(_is_text, value)), "a list"),
    "journal": (lambda value: value in ("true", "false"), "true or false"),
}


def _shapes(document: Document, loc: Loc, about: Mapping[str, Any]) -> Iterator[Problem]:
    for name, value in about.items():
        if name not in SHAPES:
            yield document.problem((*loc, name), "is not a field of a word", "remove it")
        elif not SHAPES[name][0](value):
            yield document.problem((*loc, name), f"is not {SHAPES[name][1]}", "write it so")


def _problems(document: Document) -> list[Problem]:
    data = document.data
    if not isinstance(data.get("about"), str) or not isinstance(data.get("words"), dict):
        return [document.problem((), "needs `about` and `words`", "see the file beside it")]
    found = []
    owners: dict[str, str] = {}
    for word, about in data["words"].items():
        loc = ("words", word)
        if not isinstance(about, dict) or not isinstance(about.get("definition"), str):
            found.append(document.problem(loc, "has no definition", "define it in one sentence"))
            continue
        if wrong := list(_shapes(document, loc, about)):
            found += wrong
            continue
        for name in {
            fold(one) for one in (word, about.get("label", word), *about.get("synonyms", ()))
        }:
            other = owners.setdefault(name, word)
            if other != word:
                message = f"means both {other} and {word}"
                found.append(document.problem(loc, f"'{name}' {message}", "keep it at one"))
    return found


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
        meant = words.suggest(value)
        advice = f"did you mean {meant}?" if meant else f"use one of {', '.join(words.terms)}"
        raise PydanticCustomError(
            "word",
            "'{written}' is not a word of {name}",
            {"written": value, "name": f"vocabulary/{self.name}.yaml", "advice": advice},
        )
