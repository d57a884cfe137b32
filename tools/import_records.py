"""Make drafts of entries from gathered records: `python tools/import_records.py FILE --out DIR`."""

import contextlib
import sys
from pathlib import Path
from typing import Annotated

sys.path[0] = str(Path(__file__).resolve().parents[1])

import typer
from rich.console import Console
from rich.progress import Progress

from implementations.harness.errors import BadInput, unknown_name
from tools.adding.command import connect
from tools.catalog.documents.diagnostics import CatalogError
from tools.catalog.entries.files import WriteError
from tools.catalog.entries.loader import PAPERS, load_catalog
from tools.checking.report import visible
from tools.command_line import fail, program
from tools.importing.importer import Importer, Outcome
from tools.importing.listing import read_list
from tools.importing.report import line, summary
from tools.repository import REPOSITORY
from tools.sources.web.errors import SourceError


def import_records(
    file: Annotated[Path, typer.Argument(help="The list, in YAML.")],
    out: Annotated[Path, typer.Option(help="Folder of the drafts, outside the catalog.")],
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask no source; nothing is verified then.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option(metavar="SLUG", help="Only this one (repeatable).")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many drafts.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write drafts that are there anew.")
    ] = False,
    contact: Annotated[
        str | None, typer.Option(help="E-mail address for the sources; git's if left out.")
    ] = None,
    papers: Annotated[
        Path, typer.Option(help="Folder of the entries.", exists=True, file_okay=False)
    ] = PAPERS,
) -> None:
    """Look up each record of a list, and write what is known of it as the draft of an entry.

    A list says what exists, not what is true: facts come from the sources, and what only the list
    says is named as unverified. Summary and taxonomy are left to a person. One line a record says
    whether it was taken, refused or skipped, and why; run again, it does what is left.
    """
    _refuse_folder(out, papers)
    try:
        items = read_list(file)
        catalog = load_catalog(papers)
    except BadInput as error:
        fail(f"{error}; give a list of records in YAML")
    except CatalogError as error:
        fail(f"{error}\nMend this first; nothing was written.")
    names = [item.name for item in items]
    for slug in only or ():
        if slug not in names:
            fail(unknown_name(slug, names, f"record of {file}"))
    chosen = [item for item in items if not only or item.name in only]
    outcomes: list[Outcome] = []
    console = Console(stderr=True)
    try:
        with (
            contextlib.nullcontext() if offline else connect(contact) as client,
            Progress(
                console=console,
                transient=True,
                redirect_stdout=sys.stdout.isatty(),
                disable=not console.is_terminal,
            ) as bar,
        ):
            out.mkdir(parents=True, exist_ok=True)
            found = Importer(items, catalog, out, client, force=force).run(chosen, limit)
            for outcome in bar.track(found, len(chosen), description="Records"):
                typer.echo(visible(line(outcome)))
                outcomes.append(outcome)
    except (SourceError, WriteError) as error:
        fail(str(error))
    for said in summary(outcomes, len(chosen), out):
        typer.echo(visible(said))
    statuses = {outcome.status for outcome in outcomes}
    raise typer.Exit("refused" in statuses and "taken" not in statuses)


def _refuse_folder(out: Path, papers: Path) -> None:
    """End the command where drafts would lie among entries, or in no folder."""
    for catalog in (papers.resolve(), REPOSITORY / "catalog"):
        if out.resolve().is_relative_to(catalog):
            fail(f"--out: {out} lies in the catalog, {catalog}; name a folder outside of it")
    if out.exists() and not out.is_dir():
        fail(f"--out: {out} is a file; name a folder")


app = program(import_records)

if __name__ == "__main__":
    app()
