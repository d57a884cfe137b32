"""What to do with an entry that was written."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.repository import REPOSITORY


def next_steps(slug: str, written: Sequence[Path], title: str, verb: str = "Add") -> Iterator[str]:
    """Yield the lines that lead from an entry, its marks and a method folder to a pull request."""
    names = [shown(path) for path in written]
    entry = names[0]
    branch = f"{verb.lower()}-{slug}"
    yield "Next:"
    yield f"  1. Read {entry} over, and add what you know: claims, relations, models, code."
    yield "  2. python tools/check_catalog.py"
    yield "     python tools/export.py LIST.md --out .  # writes the list anew"
    for path in written:
        if path.is_dir():
            yield f"     pytest {shown(path)}  # says what is still to be written"
    yield f"  3. git switch -c {branch}"
    yield f"     git add {shlex.join([*names, 'LIST.md'])}"
    yield f"     git commit -m {shlex.quote(f'{verb} {title}')}"
    yield f"     git push -u origin {branch}"
    yield "  4. Open a pull request; what runs there is what step 2 runs here."


def shown(path: Path) -> str:
    """Spell a path as one types it in the checkout."""
    return str(path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path)
