"""Print the tests to run after a change: `python tools/select_tests.py --base main`.

Uses only the standard library and git, because it runs before anything is installed.
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
"""The rules of the repository, which take seconds."""

METHOD_OVERVIEWS = (
    "tests/catalog/exports/test_awesome_list.py",
    "tests/test_paper_defaults.py",
    "tests/test_readme_numbers.py",
    "tests/test_records.py",
)
"""Tests of all methods together: their defaults, pages and records, and LIST.md."""

MODEL_FREE = tuple(
    f"tests/{folder.name}"
    for folder in sorted((ROOT / "tests").glob("[a-z]*/"))
    if folder.name not in ("data", "harness")
)
"""Test folders that run no model."""

PLACES: dict[str, tuple[str, ...]] = {
    "catalog/": MODEL_FREE,
    "tools/": MODEL_FREE,
    "tools/gpu/": ("tests/test_gpu_command.py",),
    "tools/run_tutorials.py": ("tests/test_tutorials.py",),
    "tools/site/": ("tests/site", "tests/test_terminal_and_site_agree.py"),
    "tools/package/": EVERYTHING,
    "docs/": ("tests/site",),
    "docs/tutorials/": ("tests/site", "tests/test_tutorials.py"),
    "mkdocs.yml": ("tests/site",),
    "README.md": ("tests/site", "tests/test_package.py"),  # runs the example of the README
    "CONTRIBUTING.md": ("tests/site",),
    "CHANGELOG.md": (),
    "LIST.md": ("tests/catalog",),
    "SECURITY.md": (),
    ".github/": ("tests/tools",),
    **{f"{folder}/": MODEL_FREE for folder in MODEL_FREE},  # they share the replayed sources
    "tests/site/": ("tests/site",),
}
"""Tests by path prefix. The longest matching prefix counts; a path without one runs all tests."""


def select(paths: Iterable[str]) -> list[str]:
    """Return the files and folders that pytest has to run when these paths change."""
    chosen = {ALWAYS}.union(*map(tests_of, paths))
    return list(EVERYTHING) if chosen.issuperset(EVERYTHING) else sorted(chosen)


def tests_of(path: str) -> tuple[str, ...]:
    """Return the tests of one path: for a method its folder, for an unknown path all tests."""
    match path.split("/"):
        case ["implementations", slug, _, *_] if slug != "harness":
            folder = f"implementations/{slug}"
            return (folder, *METHOD_OVERVIEWS) if (ROOT / folder).is_dir() else EVERYTHING
    places = [place for place in PLACES if path.startswith(place)]
    return PLACES[max(places, key=len)] if places else EVERYTHING


def changed(base: str) -> list[str]:
    """List the paths that differ from a commit; a moved file appears under both names."""
    return [
        *git("diff", "--name-only", "--no-renames", "-z", base, "--"),
        *git("ls-files", "--others", "--exclude-standard", "-z"),
    ]


def git(*words: str) -> list[str]:
    """Run git and return the names that it prints."""
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


def main() -> None:
    """Print the arguments for pytest on one line, which may be empty."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", help="commit before the change (default: select all tests)")
    parser.add_argument("--in", dest="folder", default="", help="select only tests in this folder")
    given = parser.parse_args()
    try:
        chosen = select(changed(given.base)) if given.base else EVERYTHING
    except subprocess.CalledProcessError as error:
        sys.exit(
            f"--base: git does not know '{given.base}'; fetch it, or name another commit such as "
            f"origin/main\n{error.stderr.strip()}"
        )
    inside = [name for name in chosen if f"{name}/".startswith(f"{given.folder}/".lstrip("/"))]
    sys.stdout.write(" ".join(inside) + "\n")


if __name__ == "__main__":
    main()
