"""Write the generated pages, data and charts to a folder: `python -m tools.site --out DIR`."""

from pathlib import Path
from typing import Annotated

import typer

from tools.site.atlas import read
from tools.site.pages import write


def main(
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    runs: Annotated[Path | None, typer.Option(help="Folder of runs to show as well.")] = None,
) -> None:
    """Write the pages that mkdocs gets from the hook, to look at or to use elsewhere."""
    write(read(runs=runs), out)


if __name__ == "__main__":
    typer.run(main)
