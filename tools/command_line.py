"""What all commands share: how they end where something outside of them does not let them go on."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand

from tools.checking.report import visible


class Command(TyperCommand):
    """A command that ends in one line where the disk, the output or Ctrl-C ends it."""

    def main(self, *arguments: Any, **more: Any) -> Any:
        """Run it with the arguments of the process; exits."""
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # as stderr does by itself
        try:
            return super().main(*arguments, **more)
        except OSError as error:
            fail(f"{error.filename or 'the output'}: {error.strerror or error}")

    def invoke(self, ctx: Any) -> Any:
        """Run it; raises `typer.Exit` where somebody interrupts it."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            typer.echo("interrupted", err=True)
            raise typer.Exit(130) from error


def program(command: Callable[..., None]) -> typer.Typer:
    """Make a program of one command."""
    app = typer.Typer(add_completion=False)
    app.command(cls=Command)(command)
    return app


def fail(message: str) -> NoReturn:
    """End the command with a message, of which a terminal obeys nothing."""
    sys.exit("\n".join(map(visible, message.splitlines())))
