"""Files are written whole, all or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.catalog.exports.formats import (
    write,
)


def test_a_file_that_cannot_be_written_leaves_none_behind(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        write({"a.txt": "a", "no/such/b.txt": "b"}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_files_are_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    assert write({"a.txt": "new"}, tmp_path) == [tmp_path / "a.txt"]
    assert (tmp_path / "a.txt").read_text() == "new"
