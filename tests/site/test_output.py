"""The folder that mkdocs renders holds what was written last, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from implementations.harness.errors import BadInput
from tools.site.output import MARKER, write


def test_only_changed_files_are_written_and_others_are_removed(tmp_path: Path) -> None:
    assets, folder = tmp_path / "assets", tmp_path / "docs"
    (assets / "css").mkdir(parents=True)
    (assets / "css" / "a.css").write_text("p {}")
    write(folder, {"index.md": "a", "papers/x.md": "x", "papers/y.md": "y", MARKER: ""}, assets)
    for path in folder.rglob("*.md"):
        os.utime(path, (0, 0))
    write(folder, {"index.md": "b", "papers/x.md": "x", MARKER: ""}, assets)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {MARKER, "index.md", "papers/x.md", "assets/css/a.css"}
    assert (folder / "index.md").read_text() == "b"
    assert (folder / "papers" / "x.md").stat().st_mtime == 0  # not written again


def test_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(BadInput, match="has other files, which would be removed"):
        write(tmp_path, {MARKER: ""}, tmp_path / "assets")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "mine"
