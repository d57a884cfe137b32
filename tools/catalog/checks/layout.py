"""The canonical layout of an entry: deviations, and their correction."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.catalog.documents.diagnostics import Problem
from tools.catalog.documents.yaml_reader import Document, Loc, field_path, parse
from tools.catalog.entries.files import write_file
from tools.catalog.entries.writer import canonical

FIX = "run `python tools/check_catalog.py --fix`"


def layout_problems(document: Document) -> Iterator[Problem]:
    """Find the first line that differs from the canonical layout."""
    if not _can_be_rewritten(document):
        return
    # On Windows, git may convert line ends.
    written, right = document.text.replace("\r\n", "\n"), canonical(document)
    if written == right:
        return
    lines, wanted = written.split("\n"), right.split("\n")
    same = (one == other for one, other in zip(lines, wanted, strict=False))
    line = next((i for i, equal in enumerate(same) if not equal), min(len(lines), len(wanted)))
    if line >= len(wanted):
        expected = "the end of the file"
    else:
        expected = f"'{_shortened(wanted[line])}'" if wanted[line] else "an empty line"
    message = f"does not have the canonical layout: expected {expected}"
    yield Problem(document.path, line + 1, "", message, FIX)


def fix(document: Document, path: Path) -> list[str]:
    """Rewrite a valid file in the canonical layout; return the changes.

    Raises `WriteError` if the file cannot be written.
    """
    if not _can_be_rewritten(document) or (right := canonical(document)) == document.text:
        return []
    write_file(path, right, force=True)
    before, after = _texts(document.data), dict(_texts(parse(right, document.path).data))
    changes = [
        f"{field_path(loc)}: '{text}' to '{after[loc]}'"
        for loc, text in before
        if after[loc] != text
    ]
    return changes or ["layout"]


def _can_be_rewritten(document: Document) -> bool:
    """Whether rewriting the file would lose nothing."""
    return not document.problems and not document.comments


def _shortened(text: str, most: int = 70) -> str:
    return text if len(text) <= most else text[: most - 4] + " ..."


def _texts(value: Any, loc: Loc = ()) -> Iterator[tuple[Loc, str]]:
    """Yield every text in nested dicts and lists with its path."""
    if isinstance(value, str):
        yield loc, value
    else:
        for step, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _texts(one, (*loc, step))
