"""Write the Markdown pages and data files of the site: `python -m tools.site`."""

from pathlib import Path
from typing import Annotated

import typer

from implementations.harness.errors import BadInput, Unavailable
from tools.catalog.documents.diagnostics import CatalogError
from tools.command_line import fail, program
from tools.site.atlas import read
from tools.site.output import write
from tools.site.pages import make


def main(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("build/docs"),
    runs: Annotated[
        Path | None,
        typer.Option(
            envvar="ATLAS_RUNS",
            exists=True,
            file_okay=False,
            help="Folder of additional runs of the atlas's methods to show.",
        ),
    ] = None,
) -> None:
    """Write the pages that mkdocs renders; on an error, leave the folder unchanged."""
    try:
        atlas = read(runs=runs)
        write(out, make(atlas), atlas.root / "docs" / "assets")
    except (CatalogError, BadInput, Unavailable) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or out}: {error.strerror}. Choose another --out.")


if __name__ == "__main__":
    program(main)()
