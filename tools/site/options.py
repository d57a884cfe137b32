"""Every option of every command, as the program itself knows them.

The one place of the site that imports the command line: it holds its options without torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

import typer

from implementations.harness.cli.commands import app

WORDS = {str: "text", float: "number", int: "whole number", Path: "path", bool: ""}
"""What is given after an option, by its type; a switch takes nothing."""


@dataclass(frozen=True)
class Option:
    """One option or argument: how it is written, what may follow, what holds without it."""

    name: str
    values: str
    default: str
    help: str


@dataclass(frozen=True)
class Command:
    """One command with all that it takes, arguments first."""

    name: str
    about: str
    options: tuple[Option, ...]


def commands(program: typer.Typer = app) -> list[Command]:
    """List the commands of a program in its order."""
    found = typer.main.get_command(program)
    return [
        Command(name, line(one.help), tuple(options(one)))
        for name, one in found.commands.items()  # type: ignore[attr-defined]
    ]


def options(command: Any) -> Iterator[Option]:
    """Yield what a command takes, in its order."""
    signature = inspect.signature(command.callback, eval_str=True)
    for param in command.params:
        if not param.hidden:
            argument = param.param_type_name == "argument"
            kind = values(signature.parameters[param.name].annotation)
            yield Option(
                param.metavar or param.name.upper() if argument else ", ".join(param.opts),
                kind if argument else param.metavar or kind,
                "needed" if param.required else default(param.default),
                line(param.help),
            )


def values(annotation: Any) -> str:
    """Say what is given for a parameter: `whole number from 1`."""
    said = getattr(annotation, "__metadata__", ())
    kind = annotation
    while get_origin(kind) is not None or get_args(kind):
        kind = get_args(kind)[0]  # of Annotated, of a list, of what may be None
    lowest = getattr(said[0], "min", None) if said else None
    return WORDS[kind] + (f" from {lowest}" if lowest is not None else "")


def default(value: Any) -> str:
    """Write what holds where nothing is said; empty where that is nothing."""
    return "off" if value is False else "" if value is None else str(value)


def line(text: str | None) -> str:
    """Write the first paragraph of a help text on one line."""
    return " ".join((text or "").split("\n\n")[0].split())
