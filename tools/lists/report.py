"""Reports of a comparison as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from tools.lists.comparison import Comparison, Finding

HEADINGS = {
    "contradicts": "in the catalog, but the line differs",
    "known": "in the catalog",
    "new": "not in the catalog",
}


def counts(compared: Sequence[Comparison]) -> dict[str, int]:
    """Return the number of lines per status."""
    return {status: sum(one.status == status for one in compared) for status in HEADINGS}


def as_json(compared: Sequence[Comparison]) -> dict[str, Any]:
    """Return the comparison as plain data."""
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


def as_text(compared: Sequence[Comparison]) -> Iterator[str]:
    """Yield the lines of a report, contradictions first."""
    for status, number in counts(compared).items():
        yield f"{number} {HEADINGS[status]}{':' if number else '.'}"
        for one in compared:
            if one.status == status:
                yield from _lines(one)
        yield ""


def _lines(one: Comparison) -> Iterator[str]:
    yield f"  line {one.item.line}: {f'{one.slug}: ' if one.slug else ''}{one.item.title[:100]}"
    yield from (f"    {_sentence(finding)}" for finding in one.findings)
    if one.command:
        yield f"    {one.command}"


def _sentence(finding: Finding) -> str:
    listed = f" '{finding.listed[:100]}'" if finding.listed else ""
    has = f"; the catalog has '{finding.catalog}'" if finding.catalog else ""
    return f"{finding.level}: {finding.field}{listed}: {finding.message}{has}"
