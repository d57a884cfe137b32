"""Helpers of all command-line programs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from implementations.harness.errors import escape

PapersFolder = Annotated[
    Path, typer.Option(exists=True, file_okay=False, help="Folder of the entries")
]
Contact = Annotated[
    str | None,
    typer.Option(help="E-mail address to send to the sources (default: git's user.email)"),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the entry instead of writing it")]


def program(command: Callable[..., None]) -> typer.Typer:
    """Return a Typer program of one command."""
    app = typer.Typer(add_completion=False)
    app.command()(command)
    return app


def fail(message: str) -> NoReturn:
    """Exit with code 1 and a message, in which control characters are escaped."""
    sys.exit("\n".join(map(escape, message.splitlines())))
