"""A method folder for a paper of the catalog: `python -m tools.scaffold SLUG`."""

import typer

from tools.catalog.documents.diagnostics import CatalogError
from tools.catalog.entries.loader import load_catalog
from tools.command_line import fail, program
from tools.repository import REPOSITORY
from tools.scaffold.method_folder import ScaffoldError, scaffold


def main(slug: str) -> None:
    """Make `implementations/SLUG/` from the entry of that name, ready to be filled in."""
    try:
        papers = load_catalog()
        if slug not in papers:
            raise ScaffoldError(
                f"the catalog has no '{slug}'; add it first: tools/add_paper.py ... --scaffold"
            )
        made = scaffold(slug, papers[slug], REPOSITORY)
    except (CatalogError, ScaffoldError) as error:
        fail(str(error))
    typer.echo("\n".join(str(path.relative_to(REPOSITORY)) for path in made))
    if papers[slug].fidelity is None:
        typer.echo(f"Say in catalog/papers/{slug}.yaml how it follows the paper: `fidelity`.")
    typer.echo(f"What is still to be written: pytest implementations/{slug}")


if __name__ == "__main__":
    program(main)()
