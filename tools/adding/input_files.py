"""Input files about one paper: BibTeX, a filled-in issue form, or an entry."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from implementations.harness.errors import BadInput
from implementations.harness.results.reading import read_text
from tools.adding.draft import EntryError, Value
from tools.adding.issue_form import read_form
from tools.catalog.documents.validation import validate
from tools.catalog.documents.yaml_reader import MAX_BYTES, parse
from tools.catalog.schema.paper import Paper
from tools.sources.lookup.queries import read_bibtex
from tools.sources.services.facts import Facts


@dataclass(frozen=True)
class FromFile:
    """The content of a file; each file type fills one or two of these fields."""

    origin: str
    identifier: str = ""
    given: Mapping[str, Value] = field(default_factory=dict)
    """Answers by flag."""
    facts: Facts | None = None
    entry: Mapping[str, Any] = field(default_factory=dict)


def read_file(path: Path) -> FromFile:
    """Read a file according to its extension; raises `EntryError` if it cannot be used."""
    read = READERS.get(path.suffix.lower())
    if not read:
        raise EntryError(f"{path} has an unknown extension; use one of {', '.join(READERS)}")
    try:
        text = read_text(path, MAX_BYTES)
    except BadInput as error:
        raise EntryError(str(error)) from None
    return read(text, path)


def _bibtex(text: str, path: Path) -> FromFile:
    facts = read_bibtex(text)
    return FromFile(facts.source, facts=facts)


def _form(text: str, path: Path) -> FromFile:
    identifier, given = read_form(text)
    return FromFile("issue form", identifier=identifier, given=given)


def _entry(text: str, path: Path) -> FromFile:
    """Read an entry or a draft; missing fields are asked for later."""
    document = parse(text, path)
    _, all_problems = validate(document, Paper)
    missing = re.compile(r"the field \S+ is missing")
    problems = [one for one in all_problems if not missing.fullmatch(one.message)]
    if problems:
        raise EntryError("\n".join(map(str, problems)))
    return FromFile("entry", entry=document.data)


READERS: Mapping[str, Callable[[str, Path], FromFile]] = {
    ".bib": _bibtex,
    ".bibtex": _bibtex,
    ".md": _form,
    ".markdown": _form,
    ".txt": _form,
    ".yaml": _entry,
    ".yml": _entry,
}
"""Readers by file extension."""
