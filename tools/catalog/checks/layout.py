"""The canonical layout of an entry: deviations, and their correction."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tools.catalog.documents.diagnostics import Problem
from tools.catalog.documents.yaml_reader import Document
from tools.catalog.entries.files import write_file
from tools.catalog.entries.writer import canonical

FIX = "run `python tools/check_catalog.py --fix`"


def layout_problems(document: Document) -> Iterator[Problem]:
    """Find the first line that differs from the canonical layout."""
    if not _can_be_rewritten(document):
        return
    # On Windows, git may convert line ends.
    written, right = document.text.replace("\r\n", "\n"), canonical(document.data)
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


def fix(document: Document, path: Path) -> bool:
    """Rewrite a valid file in the canonical layout; return whether it changed.

    Raises `WriteError` if the file cannot be written.
    """
    if not _can_be_rewritten(document) or (right := canonical(document.data)) == document.text:
        return False
    write_file(path, right, force=True)
    return True


def _can_be_rewritten(document: Document) -> bool:
    """Whether rewriting the file would lose nothing."""
    return not document.problems and not document.comments


def _shortened(text: str, most: int = 70) -> str:
    return text if len(text) <= most else text[: most - 4] + " ..."
