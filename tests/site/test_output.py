"""The folder that mkdocs renders holds what was written last, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

from tools.site.output import write


def test_only_changed_files_are_written_and_others_are_removed(tmp_path: Path) -> None:
    assets, folder = tmp_path / "assets", tmp_path / "docs"
    (assets / "css").mkdir(parents=True)
    (assets / "css" / "a.css").write_text("p {}")
    write(folder, {"index.md": "a", "papers/x.md": "x", "papers/y.md": "y"}, assets)
    for path in folder.rglob("*.md"):
        os.utime(path, (0, 0))
    write(folder, {"index.md": "b", "papers/x.md": "x"}, assets)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {"index.md", "papers/x.md", "assets/css/a.css"}
    assert (folder / "index.md").read_text() == "b"
    assert (folder / "papers" / "x.md").stat().st_mtime == 0  # not written again
