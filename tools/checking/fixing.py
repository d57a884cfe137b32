"""Mending what has one right form: order, layout, spaces, identifiers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tools.catalog.locking import create
from tools.catalog.reader import Document, parse, spell, strings
from tools.catalog.writer import canonical


def fix(document: Document, path: Path) -> list[str]:
    """Rewrite a file if it can be read and is not as it should be; return what was changed.

    Raises `Unwritable` where the disk does not let it; the file is then as before.
    """
    if document.problems:
        return []
    right = canonical(document)
    if right == document.text:
        return []
    create(path, right, force=True)
    return list(_changes(document, right)) or ["layout"]


def _changes(document: Document, right: str) -> Iterator[str]:
    after = dict(strings(parse(right, document.path).data))
    for loc, text in strings(document.data):
        if after[loc] != text:
            yield f"{spell(loc)}: '{text}' became '{after[loc]}'"
