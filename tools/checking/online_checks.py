"""Compare entries with what their sources say."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.console import Console
from rich.progress import track

from tools.catalog.documents.diagnostics import Problem
from tools.catalog.documents.yaml_reader import Loc
from tools.catalog.entries.loader import Entry
from tools.sources.verify import verify
from tools.sources.web.client import Client


def sources(entries: list[Entry], client: Client, console: Console) -> Iterator[Problem]:
    """Compare identifiers with their sources: a contradiction is an error, silence a warning.

    Answers are kept by the client, so that a check that was stopped goes on where it was.
    """
    for entry in track(entries, "Sources", console=console, transient=True):
        for finding in verify(entry.paper, client):
            loc = location(finding.field)
            yield entry.problem(*loc, message=finding.message, level=finding.level)


def location(field: str) -> Loc:
    """Read the path of a field as problems spell it: `code[0].url`."""
    return tuple(int(step) if step.isdigit() else step for step in re.findall(r"[^.\[\]]+", field))
