"""Comparison of entries with their sources."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.progress import track

from tools.catalog.documents.diagnostics import Problem
from tools.catalog.entries.loader import Entry
from tools.sources.client import Client
from tools.sources.verify import verify


def source_problems(entries: list[Entry], client: Client, console: Console) -> Iterator[Problem]:
    """Compare entries with the sources of their identifiers.

    A contradiction is an error, a source that does not answer a warning. The client caches the
    answers, so an interrupted check continues where it stopped.
    """
    for entry in track(entries, "Sources", console=console, transient=True):
        for finding in verify(entry.paper, client):
            loc = finding.field.split(".")
            yield entry.problem(*loc, message=finding.message, level=finding.level)
