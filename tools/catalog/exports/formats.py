"""The export formats.

Exports are reproducible byte for byte: papers are sorted by slug, and lines end in LF.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from implementations.harness.results.files import atomic_file
from tools.catalog.exports.awesome_list import listing
from tools.catalog.exports.bibtex import bibliography
from tools.catalog.exports.papers_csv import papers_csv
from tools.catalog.exports.papers_json import papers_json
from tools.catalog.schema.paper import Paper

EXPORTS: Mapping[str, Callable[[Mapping[str, Paper], Mapping[str, bool]], str]] = {
    "papers.json": papers_json,
    "papers.bib": lambda papers, _: bibliography(papers),
    "papers.csv": papers_csv,
    "LIST.md": listing,
}
"""Export functions by file name.

They take the papers by slug, and the slugs with a method folder mapped to whether it has records.
"""


def write(texts: Mapping[str, str], folder: Path) -> list[Path]:
    """Write all files into a folder, which is created, or none of them; raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in texts:
        if (folder / name).is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder", str(folder / name))
    with ExitStack() as stack:
        for name, text in texts.items():
            stack.enter_context(atomic_file(folder / name)).write(text.encode())
    return [folder / name for name in texts]
