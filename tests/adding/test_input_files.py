"""Input files that cannot be used."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.adding.draft import EntryError
from tools.adding.input_files import read_file
from tools.catalog.documents.yaml_reader import MAX_BYTES


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("paper.pdf", b"%PDF", r"has an unknown extension; use one of \.bib"),
        ("paper.bib", b"\xff\xfe", "is not UTF-8"),
        ("paper.md", b"#" * (MAX_BYTES + 1), "has 100,001 bytes"),
        ("paper.yaml", b"title: x\ntitle: y\n", r"paper.yaml:2: title: is repeated"),
        (
            "paper.yaml",
            b"title: A title\nyear: soon\n",
            "paper.yaml:2: year: is not a whole number",
        ),
    ],
)
def test_rejects_unusable_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(EntryError, match=message):
        read_file(path)


def test_accepts_incomplete_drafts(tmp_path: Path) -> None:
    path = tmp_path / "paper.yaml"
    path.write_text("title: A title\ncode:\n  - url: https://example.org/code\n")
    assert read_file(path).entry["title"] == "A title"


def test_rejects_missing_file(tmp_path: Path) -> None:
    with pytest.raises(EntryError, match=r"cannot read .*none\.bib: No such file"):
        read_file(tmp_path / "none.bib")


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_rejects_folders_and_pipes(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "paper.bib"
    make(path)
    with pytest.raises(EntryError, match=r"paper\.bib: it is (a folder|not a regular file)"):
        read_file(path)
