"""Bring an entry up to date, such as a preprint that got published: `update_paper.py sparsegpt`.

Asks the sources again, shows field by field where they differ, and asks what to take. Nothing that
a person wrote is removed without a question. The entry of a dry run goes to standard output.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

sys.path[0] = str(Path(__file__).resolve().parents[1])

from tools.adding.command import connect, failures_end_it, somebody_is_there
from tools.adding.report import Report
from tools.adding.update import Request, update
from tools.catalog.entries.loader import PAPERS

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def main(
    slug: Annotated[str, typer.Argument(help="Name of the entry, such as sparsegpt.")],
    yes: Annotated[
        bool, typer.Option("--yes", help="Ask nothing; take what removes nothing written.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; show the entry.")
    ] = False,
    contact: Annotated[
        str | None, typer.Option(help="E-mail address for the sources; git's if left out.")
    ] = None,
    catalog: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Folder of the entries.")
    ] = PAPERS,
) -> None:
    """Ask the sources about an entry again and take over what is new."""
    request = Request(
        slug=slug.removesuffix(".yaml"),
        yes=yes,
        ask=somebody_is_there() and not yes,
        dry_run=dry_run,
        catalog=catalog,
    )
    report = Report(Console(stderr=True))
    with failures_end_it(report, "edit the entry by hand"):
        update(request, report, partial(connect, contact))


if __name__ == "__main__":
    app()
