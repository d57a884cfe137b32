"""A list of gathered records in YAML: each with its facts, or with what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from implementations.harness.results.reading import read_text
from tools.catalog.documents.diagnostics import Problem
from tools.catalog.documents.validation import validate
from tools.catalog.documents.yaml_reader import Document, parse_list
from tools.importing.facts import listed
from tools.importing.record import Record
from tools.sources.services.facts import Facts
from tools.sources.web.errors import Malformed

LARGEST = 5_000_000
"""Bytes of the largest list that is read; a record has some five hundred."""


@dataclass(frozen=True)
class Item:
    """One item of a list: a record and its facts."""

    name: str
    """Its slug."""
    document: Document
    record: Record
    facts: Facts


@dataclass(frozen=True)
class Broken:
    """One item of a list that is no record."""

    name: str
    """Its slug, or else its number."""
    document: Document
    problems: tuple[Problem, ...]


def read_list(path: Path) -> list[Item | Broken]:
    """Read a list; raises `BadInput` or `CatalogError` where the file itself is of no use."""
    return list(_items(parse_list(read_text(path, LARGEST), path)))


def _items(documents: list[Document]) -> Iterator[Item | Broken]:
    first: dict[str, int] = {}
    for number, document in enumerate(documents, 1):
        slug = document.data.get("slug") if isinstance(document.data, dict) else None
        name = slug if isinstance(slug, str) else f"record {number}"
        record, found = validate(document, Record, "a record")
        if name in first:
            twice = f"{name} stands in line {first[name]} already"
            advice = "give one of the two another slug"
            found = [*found, document.problem(("slug",), twice, advice)]
        first.setdefault(name, document.line(("slug",)))
        try:
            facts = listed(record) if record else None
        except Malformed as error:
            found = [*found, document.problem((), str(error))]
        if record and facts and not found:
            yield Item(name, document, record, facts)
        else:
            yield Broken(name, document, tuple(found))
