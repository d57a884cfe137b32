"""Writing a file of the catalog: new, existing, and on a disk that fails."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tools.catalog.entries.files import WriteError, write_file


def test_writes_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "entry.yaml"
    write_file(path, "é: 1\r\n")
    assert path.read_bytes() == "é: 1\r\n".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_replaces_an_existing_file_only_with_force(tmp_path: Path) -> None:
    path = tmp_path / "entry.yaml"
    path.write_text("old")
    with pytest.raises(WriteError, match=r"entry\.yaml exists already and was not changed"):
        write_file(path, "new")
    assert path.read_text() == "old"
    write_file(path, "new", force=True)
    assert path.read_text() == "new"


@pytest.mark.parametrize("force", [False, True])
def test_leaves_nothing_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    def fail(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(WriteError, match=r"was not written: No space left on device$"):
        write_file(tmp_path / "entry.yaml", "text", force=force)
    assert list(tmp_path.iterdir()) == []
