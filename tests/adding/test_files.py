"""Files that are of no use: one message that says why."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.adding.draft import Refused
from tools.adding.files import read_file
from tools.catalog.documents.yaml_reader import LARGEST


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("paper.pdf", b"%PDF", r"its name has to end in \.bib"),
        ("paper.bib", b"\xff\xfe", "is not UTF-8"),
        ("paper.md", b"#" * (LARGEST + 1), "has 100,001 bytes"),
        ("paper.yaml", b"title: x\ntitle: y\n", r"paper.yaml:2: title: stands twice"),
        (
            "paper.yaml",
            b"title: A title\nyear: soon\n",
            "paper.yaml:2: year: is not a whole number",
        ),
    ],
)
def test_a_file_that_is_of_no_use_is_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(Refused, match=message):
        read_file(path)


def test_of_a_draft_not_all_has_to_be_there(tmp_path: Path) -> None:
    path = tmp_path / "paper.yaml"
    path.write_text("title: A title\ncode:\n  - url: https://example.org/code\n")
    assert read_file(path).entry["title"] == "A title"


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"cannot read .*none\.bib: No such file"):
        read_file(tmp_path / "none.bib")


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "paper.bib"
    make(path)
    with pytest.raises(Refused, match=r"paper\.bib: it is (a folder|not a regular file)"):
        read_file(path)
