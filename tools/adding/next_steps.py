"""The steps from a written entry to a pull request."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.repository import REPOSITORY


def next_steps(slug: str, written: Sequence[Path], title: str, verb: str = "Add") -> Iterator[str]:
    """Yield the lines to print after the files in `written` were written, the entry first."""
    names = [shown(path) for path in written]
    entry = names[0]
    branch = f"{verb.lower()}-{slug}"
    yield "Next:"
    yield f"  1. Review {entry} and add what you know: claims, relations, models, code."
    yield "  2. python tools/check_catalog.py"
    yield "     python tools/export.py LIST.md --out .  # updates the list"
    for path in written:
        if path.is_dir():
            yield f"     pytest {shown(path)}  # reports what is still missing"
    yield f"  3. git switch -c {branch}"
    yield f"     git add {shlex.join([*names, 'LIST.md'])}"
    yield f"     git commit -m {shlex.quote(f'{verb} {title}')}"
    yield f"     git push -u origin {branch}"
    yield "  4. Open a pull request. It runs the same checks as step 2."


def shown(path: Path) -> str:
    """Return a path relative to the checkout if it is inside."""
    return str(path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path)
