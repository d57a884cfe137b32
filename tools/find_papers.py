"""Propose papers that the catalog does not have: `python tools/find_papers.py [--list FILE]`.

Prints a Markdown checklist, in which each paper has the command that adds it.
"""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

sys.path[0] = str(Path(__file__).resolve().parents[1])

from rich.console import Console

from implementations.harness.errors import BadInput
from tools.catalog.documents.diagnostics import CatalogError
from tools.catalog.entries.declined import load_declined
from tools.catalog.entries.loader import PAPERS, load_catalog
from tools.command_line import PapersFolder, fail, program
from tools.discovery.listings import listings, local_list
from tools.discovery.proposals import checklist, find_new
from tools.sources.client import Client
from tools.sources.errors import BadSetting

DAYS = 90
"""Age in days of the oldest preprint that is proposed by default."""


def find_papers(
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help=f"Oldest date of submission to arXiv (default: {DAYS} days ago)",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--list",
            exists=True,
            dir_okay=False,
            help="Only read this list in Markdown, such as an Awesome list; needs no network",
        ),
    ] = None,
    contact: Annotated[
        str | None, typer.Option(help="E-mail address to send to the sources")
    ] = None,
    papers: PapersFolder = PAPERS,
) -> None:
    """Search arXiv, OpenReview and Awesome lists for papers that are not in the catalog.

    Papers in `catalog/declined.yaml` are not proposed. Nothing is written. The exit code is 1 if no
    source could be read.
    """
    today = datetime.now(UTC)
    if since and since.date() > today.date():
        raise typer.BadParameter(f"{since:%Y-%m-%d} is in the future", param_hint="--since")
    start = (since or today - timedelta(days=DAYS)).date()
    console = Console(stderr=True)
    try:
        sources = [local_list(file)] if file else list(listings(start, today.date()))
        known, declined = load_catalog(papers), load_declined(papers)
        with Client(contact) as client, console.status("Sources") as status:
            found = find_new(
                sources,
                client,
                known,
                declined,
                lambda name, count: status.update(f"{name}: {count} papers read"),
            )
    except (BadInput, BadSetting) as error:
        fail(str(error))
    except CatalogError as error:
        fail(f"{error}\nFix this first.")
    typer.echo("\n".join(checklist(found)), nl=False)
    if sum(map(len, found.failures.values())) == len(sources):
        fail("no source could be read")
    if not found.new:
        typer.echo("no new papers", err=True)


app = program(find_papers)

if __name__ == "__main__":
    app()
