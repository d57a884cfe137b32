"""Helpers of all command-line programs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

import typer


def program(command: Callable[..., None]) -> typer.Typer:
    """Return a Typer program of one command."""
    app = typer.Typer(add_completion=False)
    app.command()(command)
    return app


def escape_unprintable(text: str) -> str:
    """Escape characters that a terminal would not show, such as `\\u200b`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def fail(message: str) -> NoReturn:
    """Exit with code 1 and a message, in which control characters are escaped."""
    sys.exit("\n".join(map(escape_unprintable, message.splitlines())))
