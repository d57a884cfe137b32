"""Print the lines and files of harness, methods, tools and tests, now and at the last release."""

import subprocess
import sys

RELEASED = "2026-11-30T23:59"
PARTS = {
    "harness": ("implementations/harness/*.py",),
    "methods": ("implementations/*/*.py", ":!implementations/harness", ":!*/test_*.py"),
    "tools": ("tools/*.py",),
    "tests": ("tests/*.py", "implementations/*/test_*.py"),
}


def git(*words: str) -> str:
    """Return the output of a git command."""
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout


def size(revision: str, paths: tuple[str, ...]) -> str:
    """Return the number of lines and of files at a revision."""
    counts = git("grep", "-c", "", revision, "--", *paths).splitlines()
    return f"{sum(int(one.rpartition(':')[2]) for one in counts):,} lines, {len(counts)} files"


release = git("rev-list", "-1", f"--before={RELEASED}", "HEAD").strip()  # '' in a shallow clone
for part, paths in PARTS.items():
    before = f" (release: {size(release, paths)})" if release else ""
    sys.stdout.write(f"{part:8} {size('HEAD', paths)}{before}\n")
