"""Write the generated pages, data and charts to a folder: `python -m tools.site --out DIR`."""

from pathlib import Path
from typing import Annotated

import typer

from implementations.harness.errors import BadInput, Unavailable
from tools.catalog.documents.diagnostics import CatalogError
from tools.command_line import fail, program
from tools.site.atlas import read
from tools.site.pages import write


def main(
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    runs: Annotated[Path | None, typer.Option(help="Folder of runs to show as well.")] = None,
) -> None:
    """Write the pages that mkdocs gets from the hook, to look at or to use elsewhere."""
    try:
        write(read(runs=runs), out)
    except (CatalogError, BadInput, Unavailable) as error:
        fail(str(error))


if __name__ == "__main__":
    program(main)()
