"""A comparison for a terminal and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from tools.lists.comparison import Compared, Finding

HEADINGS = {
    "contradicts": "in the catalog, and the line has something otherwise",
    "known": "in the catalog, as the line has it",
    "new": "not in the catalog",
}


def counts(compared: Sequence[Compared]) -> dict[str, int]:
    """Return how many lines there are of each status."""
    return {status: sum(one.status == status for one in compared) for status in HEADINGS}


def as_json(compared: Sequence[Compared]) -> dict[str, Any]:
    """Return everything as plain data."""
    lines = [
        {
            **asdict(one.item),
            "status": one.status,
            "slug": one.slug or None,
            "how": one.how or None,
            "findings": [asdict(finding) for finding in one.findings],
            "command": one.command or None,
        }
        for one in compared
    ]
    return {"counts": counts(compared), "lines": lines}


def as_text(compared: Sequence[Compared]) -> Iterator[str]:
    """Yield the lines of a report, the lines to look at first."""
    for status, number in counts(compared).items():
        yield f"{number} {HEADINGS[status]}{':' if number else '.'}"
        for one in compared:
            if one.status == status:
                yield from _lines(one)
        yield ""


def _lines(one: Compared) -> Iterator[str]:
    yield f"  line {one.item.line}: {f'{one.slug}: ' if one.slug else ''}{one.item.title[:100]}"
    yield from (f"    {_sentence(finding)}" for finding in one.findings)
    if one.command:
        yield f"    {one.command}"


def _sentence(finding: Finding) -> str:
    listed = f" '{finding.listed[:100]}'" if finding.listed else ""
    has = f"; the catalog has '{finding.catalog}'" if finding.catalog else ""
    return f"{finding.level}: {finding.field}{listed}: {finding.message}{has}"
