"""A check of links for a terminal, for an issue, for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict

from tools.catalog.exports.awesome_list import escape
from tools.catalog.schema.addresses import every_address
from tools.catalog.schema.paper import Paper
from tools.links.status import Result, State

MEANING = {
    State.DEAD: "Dead: the server says that there is no such page",
    State.MOVED: "Moved for good: write the new address",
    State.UNREACHABLE: "Unreachable: no answer or an error of the server; look again later",
    State.BLOCKED: "Unknown: the server does not answer programs; look with a browser",
}

Uses = Mapping[str, Sequence[str]]


def uses(papers: Mapping[str, Paper]) -> dict[str, list[str]]:
    """Return each address of the catalog with the entries and fields that lead to it."""
    found: dict[str, list[str]] = {}
    for slug, paper in sorted(papers.items()):
        for field, address in every_address(paper):
            found.setdefault(address, []).append(f"{slug}: {field}")
    return found


def as_json(results: Iterable[Result], where: Uses) -> str:
    """Return everything as JSON."""
    data = [{**asdict(result), "used_by": where[result.url]} for result in _ordered(results)]
    return json.dumps(data, indent=1)


def as_text(results: Sequence[Result], where: Uses) -> str:
    """Return a report for a terminal."""
    return "\n".join(_lines(results, where, "{address}: {detail} ({places})", "{}:"))


def as_markdown(results: Sequence[Result], where: Uses) -> str:
    """Return a report for an issue."""
    safe = [
        Result(result.url, result.state, escape(result.detail), result.checked)
        for result in results
    ]
    return "\n".join(_lines(safe, where, "- <{address}>: {detail} ({places})", "\n## {}\n")) + "\n"


def _lines(results: Sequence[Result], where: Uses, line: str, heading: str) -> Iterator[str]:
    good = sum(result.state is State.OK for result in results)
    yield f"{len(results)} addresses were asked for; {good} lead where they should."
    for state, meaning in MEANING.items():
        those = [result for result in _ordered(results) if result.state is state]
        if those:
            yield heading.format(meaning)
        for result in those:
            places = ", ".join(where[result.url])
            yield line.format(address=result.url, detail=result.detail, places=places)


def _ordered(results: Iterable[Result]) -> list[Result]:
    order = list(State)
    return sorted(results, key=lambda result: (order.index(result.state), result.url))
