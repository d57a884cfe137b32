"""Everything an entry is checked for beyond the schema, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tools.catalog import across, consistency
from tools.catalog.across import duplicates
from tools.catalog.entries import Catalog
from tools.catalog.problems import Problem
from tools.catalog.reader import Document, strings
from tools.catalog.text import flaws
from tools.catalog.vocabulary import REPOSITORY
from tools.catalog.writer import canonical

__all__ = ["check", "duplicates", "style"]

IMPLEMENTATIONS = REPOSITORY / "implementations"
FIX = "run `python tools/check_catalog.py --fix`"


def check(catalog: Catalog, implementations: Path = IMPLEMENTATIONS) -> list[Problem]:
    """Return the problems of entries by themselves, with one another, and of their layout."""
    found: list[Problem] = []
    for document in catalog.documents:
        found += [*hidden(document), *style(document)]
    for entry in catalog.entries.values():
        for one in consistency.CHECKS:
            found += one(entry)
    for all_of in (across.same, across.aliases, across.relations, across.cycles):
        found += all_of(catalog)
    found += across.folders(catalog, implementations)
    found += across.alike(catalog)
    found += across.rare(catalog)
    return sorted(found)


def style(document: Document) -> Iterator[Problem]:
    """Find where a file is not laid out as `--fix` writes it."""
    if document.problems:
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
        should = f"'{shorten(wanted[line])}'" if wanted[line] else "an empty line"
    message = f"is not laid out as usual: wants {should}"
    yield Problem(document.path, line + 1, "", message, FIX)


def shorten(text: str, most: int = 70) -> str:
    """Cut a text that is only shown as a sign of what is meant."""
    return text if len(text) <= most else text[: most - 4] + " ..."


def hidden(document: Document) -> Iterator[Problem]:
    """Find unseen and direction-changing characters in comments and keys.

    Those of texts are found by the schema, with the name of their field.
    """
    if document.problems or document.text.replace("\n", "").isprintable():
        return
    values = "".join(text for _, text in strings(document.data))
    for number, line in enumerate(document.text.split("\n"), start=1):
        rest = "".join(c for c in line.removeprefix("\ufeff") if c not in values).strip()
        for message, advice in flaws(rest) if not rest.isprintable() else ():
            yield Problem(document.path, number, "", message, advice)
            break
