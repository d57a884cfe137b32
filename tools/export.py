"""Write the catalog as files for others: `python tools/export.py [--out DIR] [papers.bib ...]`."""

import sys
from pathlib import Path
from typing import Annotated

sys.path[0] = str(Path(__file__).resolve().parents[1])

import typer

from tools.catalog.documents.diagnostics import CatalogError
from tools.catalog.entries.loader import PAPERS, load_catalog
from tools.catalog.exports.formats import EXPORTS, write
from tools.command_line import fail, program
from tools.repository import measured


def export(
    files: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(EXPORTS)}; all if none is named.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write to; made if missing.")] = Path("build"),
    papers: Annotated[
        Path, typer.Option(help="Folder of the entries.", exists=True, file_okay=False)
    ] = PAPERS,
) -> None:
    """Write the catalog as JSON, BibTeX, CSV and as an Awesome list.

    In the CSV, lists are joined by "; ", and a cell that begins with = + - or @ gets an apostrophe
    in front, so that no spreadsheet runs it. LIST.md at the top of the repository is written by
    `tools/export.py LIST.md --out .`.
    """
    names = list(dict.fromkeys(files or EXPORTS))
    if unknown := [name for name in names if name not in EXPORTS]:
        raise typer.BadParameter(f"'{unknown[0]}' is none of {', '.join(EXPORTS)}")
    try:
        catalog = load_catalog(papers)
        methods = measured()
        written = write({name: EXPORTS[name](catalog, methods) for name in names}, out)
    except CatalogError as error:
        fail(f"{error}\nNothing was written: mend the entries first.")
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}. Nothing was written: choose another --out.")
    typer.echo("\n".join(map(str, written)))


app = program(export)

if __name__ == "__main__":
    app()
