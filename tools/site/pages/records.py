"""The records: a page for each run with the command that repeats it, a list for each method."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby

from implementations.harness.results.protocol import Protocol
from implementations.harness.results.record import DENSE, Record
from tools.site import figures
from tools.site.atlas import Atlas
from tools.site.render import Front, render
from tools.site.words import record_address, source

REDUCED = "quick"
"""The protocol to try a command with."""
STYLES = ("css/records.css",)


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield a list for each method that has records and for the dense models, and every record."""
    runs: dict[str, list[Record]] = defaultdict(list)
    for record in atlas.records:
        runs[record.method].append(record)
    for method, records in runs.items():
        yield f"records/{method}.md", _list(method, sorted(records, key=_order), atlas)
        yield from ((path(record), _page(record, atlas)) for record in records)


def path(record: Record) -> str:
    """Where the source of a record's page lies: beside its file."""
    return source(record_address(record))


def _list(method: str, records: list[Record], atlas: Atlas) -> str:
    name = "the dense models" if method == DENSE else atlas.names.get(method, method)
    front = Front(
        f"records/{method}.md",
        f"Records of {name}",
        f"Every run of {name}: values beside the dense ones, each with a page of its own.",
        styles=STYLES,
        sources=(_folder(method),),
        searched=False,
    )
    places = [(place, list(group)) for place, group in groupby(records, key=_place)]
    count = len(records)
    return render(
        "records", front, atlas, method=method, name=name, places=places, count=count, title=title
    )


def _page(record: Record, atlas: Atlas) -> str:
    method = record.method
    name = "the dense model" if method == DENSE else atlas.names.get(method, method)
    front = Front(
        path(record),
        f"{name[0].upper()}{name[1:]}: {title(record)}",
        f"One run of {name}: values beside the dense ones, protocol, versions, command.",
        styles=STYLES,
        sources=(_folder(record.method),),
        searched=False,
    )
    return render(
        "record",
        front,
        atlas,
        record=record,
        name=name,
        title=title(record),
        reduced=reduced(record),
        lines=lines,
        figures=figures,
    )


def title(record: Record) -> str:
    """Say what tells a record from the others of its method and protocol: `2:4, seed 0`."""
    said = [record.settings or record.model.name]
    if record.recovery:
        said.append(f"after {record.recovery}")
    if record.method != DENSE:
        said.append(f"seed {record.seed}")
    return ", ".join(said)


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


def _folder(method: str) -> str:
    return f"implementations/{'harness' if method == DENSE else method}/records"


def _place(record: Record) -> str:
    """Head the part of a list: one protocol, model and device."""
    device = record.hardware.accelerator or "CPU"
    return f"{record.protocol.name}: {record.model.name} on {device}, {record.model.dtype}"


def _order(record: Record) -> tuple[str, bool, str, float, int]:
    return (
        _place(record),
        record.structured,
        record.pattern or "",
        record.asked,
        record.seed,
    )
