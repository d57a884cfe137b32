"""What a file says of a paper: BibTeX, a filled issue form, or an entry."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from implementations.harness.errors import BadInput
from implementations.harness.results.reading import read_text
from tools.adding.draft import Refused, Value
from tools.adding.issue_form import read_form
from tools.catalog.documents.validation import validate
from tools.catalog.documents.yaml_reader import LARGEST, parse
from tools.catalog.schema.paper import Paper
from tools.sources.lookup.queries import read_bibtex
from tools.sources.services.facts import Facts


@dataclass(frozen=True)
class FromFile:
    """What a file says; each kind of file fills one or two of these."""

    origin: str
    identifier: str = ""
    given: Mapping[str, Value] = field(default_factory=dict)
    """Answers by flag."""
    facts: Facts | None = None
    entry: Mapping[str, Any] = field(default_factory=dict)


def read_file(path: Path) -> FromFile:
    """Read a file by the ending of its name; raises `Refused` where nothing can be made of it."""
    read = READERS.get(path.suffix.lower())
    if not read:
        endings = ", ".join(READERS)
        raise Refused(f"{path} is of no kind that can be read; its name has to end in {endings}")
    try:
        text = read_text(path, LARGEST)
    except BadInput as error:
        raise Refused(str(error)) from None
    return read(text, path)


def _bibtex(text: str, path: Path) -> FromFile:
    facts = read_bibtex(text)
    return FromFile(facts.source, facts=facts)


def _form(text: str, path: Path) -> FromFile:
    identifier, given = read_form(text)
    return FromFile("issue form", identifier=identifier, given=given)


def _entry(text: str, path: Path) -> FromFile:
    """Read an entry, or the draft of one: what is missing there is asked for later."""
    document = parse(text, path)
    _, found = validate(document, Paper)
    problems = [one for one in found if not re.fullmatch(r"the field \S+ is missing", one.message)]
    if problems:
        raise Refused("\n".join(map(str, problems)))
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
"""Readers by the ending of a file's name."""
