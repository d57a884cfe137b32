"""Every option of every command, read from the program itself.

This is the only module of the site that imports the command line, which does not import torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

import typer

from implementations.harness.cli.commands import app

TYPE_NAMES = {str: "text", float: "number", int: "whole number", Path: "path", bool: ""}
"""Descriptions of the types of values; a switch has no value."""


@dataclass(frozen=True)
class Option:
    """One option or argument: its name, values, default and help text."""

    name: str
    values: str
    default: str
    help: str


@dataclass(frozen=True)
class Command:
    """One command with its arguments and options, arguments first."""

    name: str
    about: str
    options: tuple[Option, ...]


def commands(program: typer.Typer = app) -> list[Command]:
    """List the commands of a program in its order."""
    group = typer.main.get_command(program)
    return [
        Command(name, line(one.help), tuple(options(one)))
        for name, one in group.commands.items()  # type: ignore[attr-defined]
    ]


def options(command: Any) -> Iterator[Option]:
    """Yield the arguments and options of a command in its order."""
    signature = inspect.signature(command.callback, eval_str=True)
    for param in command.params:
        if not param.hidden:
            argument = param.param_type_name == "argument"
            kind = values(signature.parameters[param.name].annotation)
            yield Option(
                param.metavar or param.name.upper() if argument else ", ".join(param.opts),
                kind if argument else param.metavar or kind,
                "required" if param.required else default(param.default),
                line(param.help),
            )


def values(annotation: Any) -> str:
    """Describe the values of a parameter: `whole number from 1`."""
    metadata = getattr(annotation, "__metadata__", ())
    kind = annotation
    while get_origin(kind) is not None or get_args(kind):
        kind = get_args(kind)[0]  # of Annotated, list or Optional
    lowest = getattr(metadata[0], "min", None) if metadata else None
    return TYPE_NAMES[kind] + (f" from {lowest}" if lowest is not None else "")


def default(value: Any) -> str:
    """Write a default: `off` for a switch, empty if there is none."""
    return "off" if value is False else "" if value is None else str(value)


def line(text: str | None) -> str:
    """Write the first paragraph of a help text on one line."""
    return " ".join((text or "").split("\n\n")[0].split())
