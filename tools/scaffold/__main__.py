"""Create the method folder of a catalogued paper: `python -m tools.scaffold SLUG`."""

from typing import Annotated

import typer

from tools.catalog.documents.diagnostics import CatalogError
from tools.catalog.entries.loader import load_catalog
from tools.command_line import fail, program
from tools.repository import REPOSITORY
from tools.scaffold.method_folder import ScaffoldError, scaffold


def main(
    slug: Annotated[
        str, typer.Argument(metavar="SLUG", help="Name of the catalog entry, such as sparsegpt")
    ],
) -> None:
    """Create `implementations/SLUG/` from templates and the entry of that name."""
    try:
        papers = load_catalog()
        if slug not in papers:
            raise ScaffoldError(
                f"the catalog has no entry '{slug}'; add it with tools/add_paper.py"
            )
        files = scaffold(slug, papers[slug], REPOSITORY)
    except (CatalogError, ScaffoldError) as error:
        fail(str(error))
    typer.echo("\n".join(str(path.relative_to(REPOSITORY)) for path in files))
    if papers[slug].fidelity is None:
        typer.echo(f"Next, add `fidelity` to catalog/papers/{slug}.yaml.")
    typer.echo(f"To see what is still missing, run: pytest implementations/{slug}")


if __name__ == "__main__":
    program(main)()
