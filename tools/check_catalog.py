"""Check the whole catalog: `python tools/check_catalog.py [--fix]`."""

import sys
from pathlib import Path
from typing import Annotated

sys.path[0] = str(Path(__file__).resolve().parents[1])

import typer

from tools.catalog.checks import check
from tools.catalog.checks.layout import fix as fix_layout
from tools.catalog.documents.diagnostics import CatalogError, Level, Problem
from tools.catalog.entries.files import WriteError, write_file
from tools.catalog.entries.loader import PAPERS, Catalog, read_catalog
from tools.catalog.schema import json_schema
from tools.checking.report import as_annotations, as_json, as_text, escape_unprintable, summary
from tools.command_line import fail, program
from tools.repository import REPOSITORY, checkout


def check_catalog(
    files: Annotated[
        list[Path] | None,
        typer.Argument(exists=True, dir_okay=False, help="Entries to report on (default: all)"),
    ] = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Fix field order, layout, spaces and identifiers")
    ] = False,
    online: Annotated[
        bool, typer.Option("--online", help="Also compare the entries with their sources")
    ] = False,
    as_data: Annotated[bool, typer.Option("--json", help="Print a JSON list")] = False,
    github: Annotated[
        bool,
        typer.Option("--github", envvar="GITHUB_ACTIONS", help="Print annotations for GitHub"),
    ] = False,
    hints: Annotated[bool, typer.Option(help="Show hints")] = True,
    write_schema: Annotated[
        bool, typer.Option("--schema", help="Write catalog/schema.json and exit")
    ] = False,
    contact: Annotated[
        str | None, typer.Option(help="E-mail address to send to the sources with --online")
    ] = None,
    papers: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Folder of the entries")
    ] = PAPERS,
) -> None:
    """Check the catalog and report each problem with its line and how to fix it.

    Only errors fail the check; warnings and hints do not. A file outside the folder of entries is
    checked as if it were in that folder.
    """
    named = [path.resolve() for path in files or ()]
    try:
        if write_schema:
            write_file(json_schema.PATH, json_schema.schema(), force=True)
            return
        catalog = read_catalog(papers.resolve(), named)
        if fix:
            _fix(catalog, named)
            catalog = read_catalog(papers.resolve(), named)
        problems = [*catalog.problems, *check(catalog, checkout(papers))]
    except (CatalogError, WriteError) as error:
        fail(str(error))
    if online:
        problems += _online(catalog, named, contact)
    shown = sorted(
        problem
        for problem in problems
        if (not named or (REPOSITORY / problem.file) in named)
        and (hints or problem.level is not Level.HINT)
    )
    if as_data:
        typer.echo(as_json(shown))
    else:
        lines = as_annotations(shown) if github else as_text(shown)
        typer.echo("\n".join([*lines, summary(len(named or catalog.documents), shown)]))
    raise typer.Exit(any(problem.level is Level.ERROR for problem in shown))


def _fix(catalog: Catalog, named: list[Path]) -> None:
    for document in catalog.documents:
        path = REPOSITORY / document.path
        if not named or path in named:
            for change in fix_layout(document, path):
                typer.echo(escape_unprintable(f"{document.path}: fixed {change}"), err=True)


def _online(catalog: Catalog, named: list[Path], contact: str | None) -> list[Problem]:
    from rich.console import Console

    from tools.checking import online_checks
    from tools.sources.client import default_client
    from tools.sources.errors import SourceError

    chosen = [
        entry
        for entry in catalog.entries.values()
        if not named or REPOSITORY / entry.document.path in named
    ]
    console = Console(stderr=True)
    try:
        with default_client(contact) as client:
            return list(online_checks.source_problems(chosen, client, console))
    except SourceError as error:
        fail(str(error))


app = program(check_catalog)

if __name__ == "__main__":
    app()
