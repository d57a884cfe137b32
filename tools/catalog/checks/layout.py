"""Order, layout, spaces, identifiers: what has one right form is found here, and mended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.catalog.documents.diagnostics import Problem
from tools.catalog.documents.yaml_reader import Document, Loc, parse, spell
from tools.catalog.entries.files import write_file
from tools.catalog.entries.writer import canonical

FIX = "run `python tools/check_catalog.py --fix`"


def layout_problems(document: Document) -> Iterator[Problem]:
    """Find where a file is not laid out as `fix` writes it."""
    if not _can_be_written_anew(document):
        return
    # Git may write the line ends of Windows there.
    written, right = document.text.replace("\r\n", "\n"), canonical(document)
    if written == right:
        return
    lines, wanted = written.split("\n"), right.split("\n")
    same = (one == other for one, other in zip(lines, wanted, strict=False))
    line = next((i for i, equal in enumerate(same) if not equal), min(len(lines), len(wanted)))
    if line >= len(wanted):
        should = "the file to end here"
    else:
        should = f"'{_shortened(wanted[line])}'" if wanted[line] else "an empty line"
    message = f"is not laid out as usual: wants {should}"
    yield Problem(document.path, line + 1, "", message, FIX)


def fix(document: Document, path: Path) -> list[str]:
    """Rewrite a file if it can be read and is not as it should be; return what was changed.

    Raises `WriteError` where the disk does not accept it.
    """
    if not _can_be_written_anew(document) or (right := canonical(document)) == document.text:
        return []
    write_file(path, right, force=True)
    before, after = _texts(document.data), dict(_texts(parse(right, document.path).data))
    changes = [
        f"{spell(loc)}: '{text}' became '{after[loc]}'"
        for loc, text in before
        if after[loc] != text
    ]
    return changes or ["layout"]


def _can_be_written_anew(document: Document) -> bool:
    """Whether nothing that somebody wrote there would be lost."""
    return not document.problems and not document.comments


def _shortened(text: str, most: int = 70) -> str:
    return text if len(text) <= most else text[: most - 4] + " ..."


def _texts(value: Any, loc: Loc = ()) -> Iterator[tuple[Loc, str]]:
    """Yield every text of nested dicts and lists with its path."""
    if isinstance(value, str):
        yield loc, value
    else:
        for step, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _texts(one, (*loc, step))
