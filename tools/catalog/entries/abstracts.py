"""Fingerprints of abstracts: they show that a summary was copied, without keeping the text.

`catalog/abstracts/<slug>.txt` holds one mark a run of words. A mark says nothing of the words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from tools.catalog.entries.files import write_file
from tools.catalog.schema.vocabulary import fold
from tools.repository import REPOSITORY

ABSTRACTS = REPOSITORY / "catalog" / "abstracts"
RUN = 8
"""Words in a row that two authors do not write by chance."""


def runs(text: str) -> list[str]:
    """Return every run of `RUN` words of a text, without case and punctuation."""
    words = fold(text).replace(":", " ").split()
    return [" ".join(words[i : i + RUN]) for i in range(len(words) - RUN + 1)]


def fingerprint(text: str) -> list[str]:
    """Return the marks of a text, one a run."""
    return [hashlib.blake2b(run.encode(), digest_size=5).hexdigest() for run in runs(text)]


def save(slug: str, abstract: str, folder: Path = ABSTRACTS) -> None:
    """Store the marks of the abstract of a paper; of a text too short for any, nothing."""
    if marks := fingerprint(abstract):
        folder.mkdir(exist_ok=True)
        write_file(folder / f"{slug}.txt", "\n".join(marks) + "\n", force=True)


def load(folder: Path = ABSTRACTS) -> Mapping[str, frozenset[str]]:
    """Return the marks of all abstracts by slug."""
    return {
        path.stem: frozenset(path.read_text(encoding="ascii").split())
        for path in sorted(folder.glob("*.txt"))
    }
