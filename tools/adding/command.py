"""Helpers of the commands: options of facts, the client, and the reporting of failures."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from inspect import Parameter, Signature
from typing import Annotated, Any

import typer

from tools.adding.draft import EntryError, Value, normalize_value, value_problem
from tools.adding.fields import FIELDS, Field
from tools.adding.messages import say
from tools.catalog.documents.diagnostics import CatalogError
from tools.catalog.entries.files import WriteError
from tools.command_line import fail
from tools.scaffold import ScaffoldError
from tools.sources.client import Client
from tools.sources.errors import BadSetting, SourceError
from tools.sources.names.references import Unidentified

FAILURES = (EntryError, SourceError, Unidentified, WriteError, ScaffoldError, CatalogError)


def with_fact_options(command: Callable[..., None]) -> Signature:
    """Return the signature of a command, with one option per fact in place of `**facts`.

    Exits with a message if the vocabulary, which the help lists, is invalid.
    """
    signature = inspect.signature(command, eval_str=True)
    *own, _ = signature.parameters.values()
    try:
        annotations = {field.parameter: _option(field) for field in FIELDS.values()}
    except CatalogError as error:
        fail(f"{error}\nFix this first.")
    options = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in annotations.items()
    ]
    return signature.replace(parameters=[*own, *options])


def _option(field: Field) -> Any:
    info = typer.Option(field.option, metavar="TERM" if field.words else "TEXT", help=field.help)
    return Annotated[list[str] | None, info] if field.many else Annotated[str | None, info]


def facts_from_options(parameters: Mapping[str, Any]) -> dict[str, Value]:
    """Return the facts given as options; raises `typer.BadParameter` for an invalid value."""
    facts: dict[str, Value] = {}
    for flag, field in FIELDS.items():
        value = parameters[field.parameter]
        if not value:
            continue
        try:
            facts[flag] = normalize_value(field, value)
        except EntryError as error:
            raise typer.BadParameter(str(error), param_hint=field.option) from None
        if problem := value_problem(field, facts[flag]):
            raise typer.BadParameter(problem, param_hint=field.option)
    return facts


def is_interactive() -> bool:
    """Whether standard input and output are a terminal."""
    return all(stream and stream.isatty() for stream in (sys.stdin, sys.stdout))


def connect(contact: str | None) -> Client:
    """Return the client of the sources, with git's e-mail address if none is given.

    Raises `BadSetting` if the given address is invalid; an invalid address of git is ignored.
    """
    if contact:
        return Client(contact)
    try:
        return Client(_git_contact())
    except BadSetting:
        return Client(None)


def _git_contact() -> str | None:
    command = ["git", "config", "user.email"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError:  # no git
        return None
    return done.stdout.strip() or None


@contextmanager
def report_failures(without_sources: str) -> Iterator[None]:
    """Context manager that reports a failure and exits with code 1.

    `without_sources` is the advice for a failed source: how to continue without it.
    """
    try:
        yield
    except FAILURES as error:
        failed = isinstance(error, SourceError) and not isinstance(error, BadSetting)
        say(f"{error}, or {without_sources}" if failed else str(error), fg="red")
    except (KeyboardInterrupt, EOFError):
        say("cancelled; nothing was written", fg="red")
    else:
        return
    raise typer.Exit(1)
