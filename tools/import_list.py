"""Compare an Awesome list with the catalog: `python tools/import_list.py FILE.md`."""

import json
import sys
from pathlib import Path
from typing import Annotated

sys.path[0] = str(Path(__file__).resolve().parents[1])

import typer

from tools.catalog.documents.diagnostics import CatalogError
from tools.catalog.entries.loader import PAPERS, load_catalog
from tools.lists.comparison import compare
from tools.lists.parser import read_list
from tools.lists.report import as_json, as_text

LARGEST = 5_000_000
"""Bytes of the largest list that is read; the longest known ones have half a megabyte."""


def import_list(
    file: Annotated[Path, typer.Argument(help="The list, in Markdown.")],
    as_data: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    papers: Annotated[
        Path, typer.Option(help="Folder of the entries.", exists=True, file_okay=False)
    ] = PAPERS,
) -> None:
    """Say which papers of a list the catalog has, which are new, and what it knows otherwise.

    Nothing is written: each new paper comes with the command that adds it.
    """
    try:
        items = read_list(_text(file))
        compared = compare(items, load_catalog(papers))
    except CatalogError as error:
        sys.exit(f"{error}\nMend the entries first.")
    except OSError as error:
        sys.exit(f"{error.filename} cannot be read: {error.strerror}")
    if not items:
        sys.exit(f"{file} holds no line that names a paper; give a Markdown list, one paper a line")
    typer.echo(json.dumps(as_json(compared), indent=1) if as_data else "\n".join(as_text(compared)))


def _text(file: Path) -> str:
    if file.stat().st_size > LARGEST:
        sys.exit(f"{file} is larger than {LARGEST:,} bytes; give the list alone")
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        sys.exit(f"{file} is not UTF-8 text; save it as UTF-8")


if __name__ == "__main__":
    typer.run(import_list)
