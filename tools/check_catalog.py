"""Check the whole catalog: `python tools/check_catalog.py [--fix]`."""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

sys.path[0] = str(Path(__file__).resolve().parents[1])

import typer

from implementations.harness.errors import escape
from tools.catalog.checks import check
from tools.catalog.checks.layout import fix as fix_layout
from tools.catalog.documents.diagnostics import CatalogError, Level, Problem
from tools.catalog.entries.files import WriteError, write_file
from tools.catalog.entries.loader import PAPERS, Catalog, read_catalog
from tools.catalog.schema import json_schema
from tools.command_line import PapersFolder, fail, program
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
    github: Annotated[
        bool,
        typer.Option("--github", envvar="GITHUB_ACTIONS", help="Print annotations for GitHub"),
    ] = False,
    write_schema: Annotated[
        bool, typer.Option("--schema", help="Write catalog/schema.json and exit")
    ] = False,
    contact: Annotated[
        str | None, typer.Option(help="E-mail address to send to the sources with --online")
    ] = None,
    papers: PapersFolder = PAPERS,
) -> None:
    """Check the catalog and report each problem with its line and how to fix it.

    Only errors fail the check; warnings do not. A file outside the folder of entries is
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
        problem for problem in problems if not named or (REPOSITORY / problem.file) in named
    )
    lines = as_annotations(shown) if github else as_text(shown)
    typer.echo("\n".join([*lines, summary(len(named or catalog.documents), shown)]))
    raise typer.Exit(any(problem.level is Level.ERROR for problem in shown))


def _fix(catalog: Catalog, named: list[Path]) -> None:
    for document in catalog.documents:
        path = REPOSITORY / document.path
        if (not named or path in named) and fix_layout(document, path):
            typer.echo(f"fixed {document.path}", err=True)


def _online(catalog: Catalog, named: list[Path], contact: str | None) -> list[Problem]:
    from rich.console import Console
    from rich.progress import track

    from tools.sources.client import Client
    from tools.sources.errors import SourceError
    from tools.sources.verify import verify

    chosen = [
        entry
        for entry in catalog.entries.values()
        if not named or REPOSITORY / entry.document.path in named
    ]
    try:
        with Client(contact) as client:
            entries = track(chosen, "Sources", console=Console(stderr=True), transient=True)
            return [problem for entry in entries for problem in verify(entry, client)]
    except SourceError as error:
        fail(str(error))


def as_text(problems: Iterable[Problem]) -> list[str]:
    """Return one line per problem."""
    return [escape(str(problem)) for problem in problems]


def as_annotations(problems: Iterable[Problem]) -> list[str]:
    """Return the workflow commands that make GitHub show problems in a pull request."""
    return [
        f"::{problem.level} file={_escape(problem.file.as_posix(), ':,')},"
        f"line={problem.line},title={_escape(problem.field or 'entry', ':,')}::"
        + _escape("; ".join(filter(None, (problem.message, problem.advice))))
        for problem in problems
    ]


def _escape(text: str, more: str = "") -> str:
    shown = escape(text)
    return "".join(f"%{ord(c):02X}" if c in "%\r\n" + more else c for c in shown)


def summary(entries: int, problems: Sequence[Problem]) -> str:
    """Return one line with the number of entries and of problems per level."""
    count = Counter(problem.level for problem in problems)
    levels = [_counted(count[level], level.value) for level in Level if count[level]]
    checked = "1 entry" if entries == 1 else f"{entries} entries"
    return f"{checked} checked: {', '.join(levels) or 'no problems'}"


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" + "s" * (count != 1)


app = program(check_catalog)

if __name__ == "__main__":
    app()
