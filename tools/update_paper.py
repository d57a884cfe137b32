"""Update an entry, such as a preprint that was published: `update_paper.py sparsegpt`.

Queries the sources again, shows each field that differs and asks which changes to accept. Nothing
that a person wrote is removed without asking. A dry run prints the entry to standard output.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

sys.path[0] = str(Path(__file__).resolve().parents[1])

from tools.adding.command import is_interactive, report_failures
from tools.adding.update import update
from tools.catalog.entries.loader import PAPERS
from tools.command_line import Contact, DryRun, PapersFolder

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def main(
    slug: Annotated[str, typer.Argument(help="Name or file of the entry, such as sparsegpt")],
    yes: Annotated[
        bool, typer.Option("--yes", help="Accept all changes that remove nothing; do not ask")
    ] = False,
    dry_run: DryRun = False,
    contact: Contact = None,
    catalog: PapersFolder = PAPERS,
) -> None:
    """Query the sources of an entry again and accept new facts."""
    with report_failures("edit the entry by hand"):
        update(
            Path(slug).stem,
            yes=yes,
            ask=is_interactive() and not yes,
            dry_run=dry_run,
            contact=contact,
            folder=catalog,
        )


if __name__ == "__main__":
    app()
