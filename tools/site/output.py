"""The folder that mkdocs renders: pages, data files and a copy of `docs/assets`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from implementations.harness.errors import BadInput

MARKER = "llms.txt"
"""A page that every folder written here has. It is written first, to mark a folder as ours."""


def write(folder: Path, texts: Mapping[str, str], assets: Path) -> None:
    """Make `folder` hold these texts, by path, and the files of `assets` below `assets/`.

    Files that already have the right content keep their date, so that `mkdocs serve --dirty` builds
    only the pages that changed. Every other file is removed. Raises `BadInput` if the folder was
    not written by this function.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise BadInput(
            f"--out: {folder} has other files, which would be removed; give a new or empty folder"
        )
    files = {Path(path): text.encode("utf-8") for path, text in texts.items()}
    copied = (path for path in assets.rglob("*") if path.is_file())
    files |= {Path("assets", path.relative_to(assets)): path.read_bytes() for path in copied}
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        if path.relative_to(folder) not in files:
            path.unlink()
    for path, content in sorted(files.items(), key=lambda file: file[0] != Path(MARKER)):
        target = folder / path
        if not target.exists() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
