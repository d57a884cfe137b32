"""Helpers of all command-line programs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

import typer

from tools.checking.report import escape_unprintable


def program(command: Callable[..., None]) -> typer.Typer:
    """Return a Typer program of one command."""
    app = typer.Typer(add_completion=False)
    app.command()(command)
    return app


def fail(message: str) -> NoReturn:
    """Exit with code 1 and a message, in which control characters are escaped."""
    sys.exit("\n".join(map(escape_unprintable, message.splitlines())))
