"""Compare an Awesome list with the catalog: `python tools/import_list.py FILE.md`."""

import json
import sys
from pathlib import Path
from typing import Annotated

sys.path[0] = str(Path(__file__).resolve().parents[1])

import typer

from implementations.harness.errors import BadInput
from implementations.harness.results.reading import read_text
from tools.catalog.documents.diagnostics import CatalogError
from tools.catalog.entries.loader import PAPERS, load_catalog
from tools.command_line import fail, program
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
        items = read_list(read_text(file, LARGEST))
        compared = compare(items, load_catalog(papers))
    except BadInput as error:
        fail(str(error))
    except CatalogError as error:
        fail(f"{error}\nMend the entries first.")
    if not items:
        fail(f"{file} holds no line that names a paper; give a Markdown list, one paper a line")
    typer.echo(json.dumps(as_json(compared), indent=1) if as_data else "\n".join(as_text(compared)))


app = program(import_list)

if __name__ == "__main__":
    app()
