"""Fingerprints of abstracts, which reveal copied summaries without storing the text.

`catalog/abstracts/<slug>.txt` contains one hash per run of consecutive words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from tools.catalog.entries.files import make_folder, write_file
from tools.catalog.schema.vocabulary import fold

RUN = 8
"""Number of consecutive words that two authors do not write by chance."""


def runs(text: str) -> list[str]:
    """Return all runs of `RUN` consecutive words of a text, without case and punctuation."""
    words = fold(text).replace(":", " ").split()
    return [" ".join(words[i : i + RUN]) for i in range(len(words) - RUN + 1)]


def fingerprint(text: str) -> list[str]:
    """Return the hash of each run of a text."""
    return [hashlib.blake2b(run.encode(), digest_size=5).hexdigest() for run in runs(text)]


def save(slug: str, abstract: str, folder: Path) -> None:
    """Store the fingerprint of an abstract, unless it is too short; raises `WriteError`."""
    if marks := fingerprint(abstract):
        make_folder(folder)
        write_file(folder / f"{slug}.txt", "\n".join(marks) + "\n", force=True)


def load(folder: Path) -> Mapping[str, frozenset[str]]:
    """Return the fingerprints of all abstracts by slug."""
    return {
        path.stem: frozenset(path.read_text(encoding="ascii").split())
        for path in sorted(folder.glob("*.txt"))
    }
