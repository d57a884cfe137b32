"""Write the site to a folder, without mkdocs and its theme: `python -m tools.site --out DIR`."""

from pathlib import Path
from typing import Annotated

import typer

from implementations.harness.errors import BadInput, Unavailable
from tools.catalog.documents.diagnostics import CatalogError
from tools.command_line import fail, program
from tools.site.atlas import read
from tools.site.frame import write


def main(
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    runs: Annotated[Path | None, typer.Option(help="Folder of runs to show as well.")] = None,
    served: Annotated[
        bool, typer.Option(envvar="ATLAS_SITE_SERVED", help="Whether a server will show it.")
    ] = True,
) -> None:
    """Write the whole site as plain pages, in a frame of its own."""
    try:
        write(read(runs=runs), out, served)
    except (CatalogError, BadInput, Unavailable) as error:
        fail(str(error))


if __name__ == "__main__":
    program(main)()
