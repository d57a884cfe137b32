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

MAX_BYTES = 5_000_000
"""Maximum size of a list in bytes; the longest known lists have half a megabyte."""


def import_list(
    file: Annotated[Path, typer.Argument(help="List in Markdown")],
    as_data: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    papers: Annotated[
        Path, typer.Option(help="Folder of the entries", exists=True, file_okay=False)
    ] = PAPERS,
) -> None:
    """Compare an Awesome list with the catalog.

    Lists the papers that are in the catalog, those that contradict it and those that are new, each
    with the command that adds it. Nothing is written.
    """
    try:
        items = read_list(read_text(file, MAX_BYTES))
        compared = compare(items, load_catalog(papers))
    except BadInput as error:
        fail(str(error))
    except CatalogError as error:
        fail(f"{error}\nFix the entries first.")
    if not items:
        fail(f"{file} has no line that names a paper; give a Markdown list with one paper per line")
    typer.echo(json.dumps(as_json(compared), indent=1) if as_data else "\n".join(as_text(compared)))


app = program(import_list)

if __name__ == "__main__":
    app()
