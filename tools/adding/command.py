"""What the commands share: flags of facts, who is there to answer, how failures end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer

from tools.adding.draft import Refused, Value, fault, settled
from tools.adding.fields import FIELDS
from tools.adding.report import Report
from tools.catalog.documents.diagnostics import CatalogError
from tools.catalog.entries.files import WriteError
from tools.scaffold import ScaffoldError
from tools.sources.names.references import Unidentified
from tools.sources.web.client import Client, default_client
from tools.sources.web.errors import BadSetting, SourceError

FAILURES = (Refused, SourceError, Unidentified, WriteError, ScaffoldError, CatalogError)


def option(flag: str) -> Any:
    """Declare the option of one fact."""
    field = FIELDS[flag]
    metavar = "WORD" if field.words else "TEXT"
    return typer.Option(field.option, metavar=metavar, help=field.help)


def given(parameters: Mapping[str, Any]) -> dict[str, Value]:
    """Return the facts given as options; raises `typer.BadParameter` for one that cannot stand."""
    facts: dict[str, Value] = {}
    for flag, field in FIELDS.items():
        value = parameters[field.parameter]
        if not value:
            continue
        try:
            facts[flag] = settled(field, value)
        except Refused as error:
            raise typer.BadParameter(str(error), param_hint=field.option) from None
        if wrong := fault(field, facts[flag]):
            raise typer.BadParameter(wrong, param_hint=field.option)
    return facts


def somebody_is_there() -> bool:
    """Whether there is a terminal to ask on."""
    return all(stream and stream.isatty() for stream in (sys.stdin, sys.stdout))


def connect(contact: str | None) -> Client:
    """Make the client of the sources, with git's e-mail address if none is given.

    Raises `BadSetting` for a given address that is none; git may know one that never was.
    """
    if contact:
        return default_client(contact)
    try:
        return default_client(_git_contact())
    except BadSetting:
        return default_client(None)


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
def failures_end_it(report: Report, without_sources: str) -> Iterator[None]:
    """Say what went wrong and exit with 1; a user who leaves a question has changed nothing.

    `without_sources` is what the command advises where a source fails: how to go on without any.
    """
    try:
        yield
    except FAILURES as error:
        failed = isinstance(error, SourceError) and not isinstance(error, BadSetting)
        report.say(f"{error}, or {without_sources}" if failed else str(error), style="red")
    except (KeyboardInterrupt, EOFError):
        report.say("left; nothing was written", style="red")
    else:
        return
    raise typer.Exit(1)
