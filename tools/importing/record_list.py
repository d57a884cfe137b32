"""A list of collected records in YAML: valid items with their facts, and invalid ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from implementations.harness.results.reading import read_text
from tools.catalog.documents.diagnostics import Problem
from tools.catalog.documents.validation import validate
from tools.catalog.documents.yaml_reader import Document, parse_list
from tools.importing.record import Record
from tools.importing.record_facts import record_facts
from tools.sources.errors import Malformed
from tools.sources.services.facts import Facts

MAX_BYTES = 5_000_000
"""Maximum size of a list in bytes; a record has about five hundred."""


@dataclass(frozen=True)
class Item:
    """A valid item of a list: a record and its facts."""

    name: str
    """Its slug."""
    document: Document
    record: Record
    facts: Facts


@dataclass(frozen=True)
class InvalidItem:
    """An item of a list that is not a valid record."""

    name: str
    """Its slug, or its number if it has none."""
    document: Document
    problems: tuple[Problem, ...]


def read_list(path: Path) -> list[Item | InvalidItem]:
    """Read a list; raises `BadInput` or `CatalogError` if the file is not a list."""
    return list(_items(parse_list(read_text(path, MAX_BYTES), path)))


def _items(documents: list[Document]) -> Iterator[Item | InvalidItem]:
    first: dict[str, int] = {}
    for number, document in enumerate(documents, 1):
        slug = document.data.get("slug") if isinstance(document.data, dict) else None
        name = slug if isinstance(slug, str) else f"record {number}"
        record, found = validate(document, Record, "a record")
        if name in first:
            repeated = f"{name} is already used in line {first[name]}"
            advice = "use another slug for one of the two"
            found = [*found, document.problem(("slug",), repeated, advice)]
        first.setdefault(name, document.line(("slug",)))
        try:
            facts = record_facts(record) if record else None
        except Malformed as error:
            found = [*found, document.problem((), str(error))]
        if record and facts and not found:
            yield Item(name, document, record, facts)
        else:
            yield InvalidItem(name, document, tuple(found))
