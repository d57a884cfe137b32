"""Export the catalog: `python tools/export.py [--out DIR] [papers.bib ...]`."""

import sys
from pathlib import Path
from typing import Annotated

sys.path[0] = str(Path(__file__).resolve().parents[1])

import typer

from tools.catalog.documents.diagnostics import CatalogError
from tools.catalog.entries.loader import PAPERS, load_catalog
from tools.catalog.exports.formats import EXPORTS, write
from tools.command_line import PapersFolder, fail, program
from tools.repository import measured


def export(
    files: Annotated[
        list[str] | None,
        typer.Argument(help=f"Files to write: {', '.join(EXPORTS)} (default: all)"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Output folder; created if missing")] = Path("build"),
    papers: PapersFolder = PAPERS,
) -> None:
    """Export the catalog as JSON, BibTeX, CSV and an Awesome list.

    In the CSV, list items are joined by "; ". A cell that begins with = + - or @ is prefixed with
    an apostrophe, so that no spreadsheet runs it as a formula. To update LIST.md at the top of the
    repository, run `tools/export.py LIST.md --out .`.
    """
    names = list(dict.fromkeys(files or EXPORTS))
    if unknown := [name for name in names if name not in EXPORTS]:
        raise typer.BadParameter(f"'{unknown[0]}' must be one of {', '.join(EXPORTS)}")
    try:
        catalog = load_catalog(papers)
        methods = measured()
        written = write({name: EXPORTS[name](catalog, methods) for name in names}, out)
    except CatalogError as error:
        fail(f"{error}\nNothing was written. Fix the entries first.")
    except OSError as error:
        fail(
            f"{error.filename or out}: {error.strerror}. Nothing was written. Choose another --out."
        )
    typer.echo("\n".join(map(str, written)))


app = program(export)

if __name__ == "__main__":
    app()
