"""Entries held against their sources, and their links asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, track

from tools.catalog.documents.diagnostics import Level, Problem
from tools.catalog.documents.yaml_reader import Loc
from tools.catalog.entries.loader import Entry
from tools.catalog.schema.addresses import every_address
from tools.links.checker import check
from tools.links.status import Result, State, Store
from tools.sources.verify import verify
from tools.sources.web.client import Client

GIVEN = ("links", "code")
"""Fields that hold addresses."""
AGE = timedelta(days=1)
"""For so long a link that was asked for is not asked for again."""


def sources(entries: list[Entry], client: Client, console: Console) -> Iterator[Problem]:
    """Compare identifiers with their sources: a contradiction is an error, silence a warning.

    Answers are kept by the client, so that a check that was stopped goes on where it was.
    """
    for entry in track(entries, "Sources", console=console, transient=True):
        for finding in verify(entry.paper, client):
            loc = location(finding.field)
            yield entry.problem(*loc, message=finding.message, level=finding.level)


def links(
    entries: list[Entry], contact: str | None, store: Path, console: Console
) -> Iterator[Problem]:
    """Ask for the addresses that are given: a dead one is a warning, for pages come and go.

    Pages of identifiers are left out, as their sources were asked already.
    """
    kept = Store(store, AGE)
    uses = [
        (entry, field, url)
        for entry in entries
        for field, url in every_address(entry.paper)
        if field.startswith(GIVEN)
    ]
    wanted = {url for _, _, url in uses} - kept.results.keys()
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("Links", total=len(wanted))

        def done(result: Result) -> None:
            kept.add(result)
            progress.advance(task)

        check(sorted(wanted), done, contact)
    for entry, field, url in uses:
        result = kept.results[url]
        if result.state is not State.OK:
            level = Level.HINT if result.state is State.BLOCKED else Level.WARNING
            message = f"{url} is {result.state}: {result.detail}"
            yield entry.problem(*location(field), message=message, level=level)


def location(field: str) -> Loc:
    """Read the path of a field as problems spell it: `code[0].url`."""
    return tuple(int(step) if step.isdigit() else step for step in re.findall(r"[^.\[\]]+", field))
