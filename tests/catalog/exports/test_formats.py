"""Writing of the export files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.catalog.exports.formats import (
    write,
)


def test_failure_leaves_no_files(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        write({"a.txt": "a", "no/such/b.txt": "b"}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_replaces_existing_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    assert write({"a.txt": "new"}, tmp_path) == [tmp_path / "a.txt"]
    assert (tmp_path / "a.txt").read_text() == "new"
