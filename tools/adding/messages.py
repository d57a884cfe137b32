"""Messages to the user on standard error, without control characters."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from implementations.harness.errors import escape
from tools.adding.draft import Draft
from tools.catalog.documents.yaml_reader import field_path
from tools.repository import REPOSITORY

LONGEST = 200
"""Maximum number of characters shown of a value, such as a list of a thousand authors."""


def say(text: str, **style: Any) -> None:
    """Print one or more lines; `style` is passed to `typer.style`."""
    typer.secho("\n".join(map(escape, text.split("\n"))), err=True, **style)


def notes(title: str, lines: Iterable[str]) -> None:
    """Print a list with a title; print nothing if it is empty."""
    lines = list(lines)
    if lines:
        say(f"{title}:", bold=True)
        for line in lines:
            say(f"  - {line}")


def show_draft(draft: Draft) -> None:
    """Print the known facts with their sources, and the abstract."""
    known = [loc for loc in draft.origin if loc not in draft.guessed]
    values = [plain(draft.get(loc)) for loc in known]
    short = (text if len(text) <= LONGEST else f"{text[:LONGEST]} ..." for text in values)
    shown = zip(known, short, strict=True)
    notes("Facts", (f"{field_path(loc)}: {text} ({draft.origin[loc]})" for loc, text in shown))
    if draft.abstract:
        say("Abstract (do not copy from it):", bold=True)
        say(f"  {draft.abstract}")


def plain(value: Any) -> str:
    """Format a value on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {plain(one)}" for name, one in value.items())
    return ", ".join(map(plain, value)) if isinstance(value, list | tuple) else str(value)


def next_steps(slug: str, written: Sequence[Path], title: str, verb: str = "Add") -> Iterator[str]:
    """Yield the steps to a pull request; the entry comes first in `written`."""
    names = [shown(path) for path in written]
    branch = f"{verb.lower()}-{slug}"
    yield "Next:"
    yield f"  1. Review {names[0]} and add what you know: claims, relations, models, code."
    yield "  2. python tools/check_catalog.py"
    yield "     python tools/export.py LIST.md --out .  # updates the list"
    for path in written:
        if path.is_dir():
            yield f"     pytest {shown(path)}  # reports what is still missing"
    yield f"  3. git switch -c {branch}"
    yield f"     git add {shlex.join([*names, 'LIST.md'])}"
    yield f"     git commit -m {shlex.quote(f'{verb} {title}')}"
    yield f"     git push -u origin {branch}"
    yield "  4. Open a pull request. The checks of step 2 run there first, then the tests."


def shown(path: Path) -> str:
    """Return a path relative to the checkout if it is inside."""
    return str(path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path)
