"""The records: for each method a page of its runs, each with the command that repeats it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from implementations.harness.results.protocol import Protocol
from implementations.harness.results.record import Record
from tools.site import figures
from tools.site.atlas import Atlas
from tools.site.render import Front, render

REDUCED = "quick"
"""The protocol to try a command with."""


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield a page for each method that has records, and one for the dense models."""
    runs: dict[str, list[Record]] = defaultdict(list)
    for record in atlas.records:
        runs[record.method].append(record)
    for method, records in runs.items():
        yield f"records/{method}.md", _page(method, sorted(records, key=_order), atlas)


def _page(method: str, records: list[Record], atlas: Atlas) -> str:
    owner = "harness" if method == "dense" else method
    name = "the dense models" if method == "dense" else atlas.names.get(method, method)
    front = Front(
        f"records/{method}.md",
        f"Records of {name}",
        f"Every run of {name}: values beside the dense ones, protocol, versions, command.",
        trail=trail(method, name, atlas),
        styles=("css/records.css",),
        sources=(f"implementations/{owner}/records",),
        searched=False,
    )
    return render(
        "records",
        front,
        atlas,
        method=method,
        name=name,
        records=records,
        reduced=reduced,
        lines=lines,
        figures=figures,
    )


def trail(method: str, name: str, atlas: Atlas) -> tuple[tuple[str, str], ...]:
    """Return the way to the records of a method, past its own page where it has one."""
    board = ("Leaderboard", "leaderboard.md")
    if method not in atlas.papers:
        return board, (f"Records of {name}", "")
    return board, (name, f"papers/{method}.md"), ("Records", "")


def reduced(record: Record) -> str:
    """The command of a record under a protocol that takes a minute; empty where it is that one."""
    if record.protocol.name == REDUCED or "--protocol" not in record.command:
        return ""
    return re.sub(r"--protocol \S+", f"--protocol {REDUCED}", record.command)


def lines(protocol: Protocol) -> Iterator[str]:
    """Say what a protocol asks for, a part a line."""
    content = protocol.model_dump(mode="json", exclude={"name", "about"})
    for name, value in content.items():
        for part in value if isinstance(value, list) else [value]:
            words = part.items() if isinstance(part, dict) else [("", part)]
            yield f"{name}: " + ", ".join(f"{key} {value}".strip() for key, value in words)


def _order(record: Record) -> tuple[str, bool, str, float, int]:
    return (
        record.protocol.name,
        record.structured,
        record.pattern or "",
        record.asked,
        record.seed,
    )
