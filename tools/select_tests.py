"""Print what pytest has to run after a change: `python tools/select_tests.py --base main`.

Needs nothing but the standard library and git, since it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EVERYTHING = ("implementations", "tests")
ALWAYS = "tests/test_repository.py"
"""Where things belong, in seconds."""

OF_ALL_METHODS = (
    "tests/test_paper_defaults.py",
    "tests/test_readme_numbers.py",
    "tests/test_records.py",
)
"""Tests of all methods together: their defaults, pages and records."""

TOOLS = tuple(
    f"tests/{folder.name}"
    for folder in sorted((ROOT / "tests").glob("[a-z]*/"))
    if folder.name not in ("data", "harness")
)
"""All that runs no model."""

PLACES: dict[str, tuple[str, ...]] = {
    "catalog/": TOOLS,
    "tools/": TOOLS,
    "tools/site/": ("tests/site",),
    "tools/package/": EVERYTHING,
    "docs/": ("tests/site",),
    "mkdocs.yml": ("tests/site",),
    "README.md": ("tests/site", "tests/test_package.py"),  # which runs its example
    "CONTRIBUTING.md": ("tests/site",),
    "CHANGELOG.md": (),
    "LIST.md": ("tests/catalog",),
    "SECURITY.md": (),
    ".github/": ("tests/tools",),
    **{f"{folder}/": TOOLS for folder in TOOLS},  # they share their replayed sources
    "tests/site/": ("tests/site",),
}
"""The tests of a place; the longest name that a path begins with counts, and without one all."""


def select(paths: Iterable[str]) -> list[str]:
    """Choose the files and folders that pytest has to run when these paths change."""
    chosen = {ALWAYS}.union(*map(tests_of, paths))
    return list(EVERYTHING) if chosen.issuperset(EVERYTHING) else sorted(chosen)


def tests_of(path: str) -> tuple[str, ...]:
    """Name the tests of one path: a method's are its folder, those of what is unknown all."""
    match path.split("/"):
        case ["implementations", slug, _, *_] if slug != "harness":
            folder = f"implementations/{slug}"
            return (folder, *OF_ALL_METHODS) if (ROOT / folder).is_dir() else EVERYTHING
    places = [place for place in PLACES if path.startswith(place)]
    return PLACES[max(places, key=len)] if places else EVERYTHING


def changed(base: str) -> list[str]:
    """List what differs between a commit and the checkout; of what was moved, both names."""
    command = ["git", "diff", "--name-only", "--no-renames", "-z", base]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


def main() -> None:
    """Print the arguments on one line, which is empty where nothing is chosen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", help="the commit before the change; without one, everything")
    parser.add_argument("--in", dest="folder", default="", help="only what lies in this folder")
    given = parser.parse_args()
    chosen = select(changed(given.base)) if given.base else EVERYTHING
    inside = [name for name in chosen if f"{name}/".startswith(f"{given.folder}/".lstrip("/"))]
    sys.stdout.write(" ".join(inside) + "\n")


if __name__ == "__main__":
    main()
