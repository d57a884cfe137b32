"""Data files for other programs: catalog, records, leaderboard and feed."""

from __future__ import annotations

import json
import uuid
from typing import Any

from implementations.harness.results.boards import Board
from implementations.harness.results.record import Record
from implementations.harness.results.table import row_line, to_csv
from tools.catalog.exports.formats import EXPORTS
from tools.catalog.schema.json_schema import schema
from tools.site.addresses import record_path
from tools.site.atlas import Atlas
from tools.site.render import fill

RECORDS = "urn:pruning-atlas:records:1"
"""Format of `records.json`; the version increases with changes that break readers."""

MAX_ENTRIES = 50
"""Maximum number of papers in the feed."""

SHORT = {
    *("run", "key", "date", "command", "method", "granularity", "configuration", "changed"),
    *("requested", "achieved", "seed", "values", "footprint", "speed", "labels", "seconds"),
}
"""The fields of a record that are copied to `records.json`."""

FILES = {
    "papers.json": "All entries of the catalog with all fields and derived values",
    "papers.bib": "BibTeX of every paper",
    "papers.csv": "One row per entry, for spreadsheets",
    "records.json": "One object per run: settings, results and the path of its record",
    "leaderboard.csv": "One row per setting, averaged over seeds, with the dense values",
    "schema.json": "JSON Schema of an entry of the catalog",
    "record.schema.json": "JSON Schema of a record",
    "feed.xml": "Atom feed of recently added papers",
    "llms.txt": "Overview of the site for language models",
}
"""Address and contents of each file; the addresses do not change."""


def data_files(atlas: Atlas) -> dict[str, str]:
    """Return the files by name, without `llms.txt`, which lists the pages."""
    methods = {slug: bool(method.records) for slug, method in atlas.methods.items()}
    exports = {name: EXPORTS[name](atlas.papers, methods) for name in EXPORTS if name in FILES}
    return exports | {
        "records.json": records_json(atlas),
        "leaderboard.csv": leaderboard_csv(atlas.boards),
        "schema.json": schema(),
        "record.schema.json": _json(Record.model_json_schema()),
        "feed.xml": feed(atlas),
    }


def records_json(atlas: Atlas) -> str:
    """Write the records in short form, one per line; `path` is the file of the full record."""
    lines = ",\n".join(json.dumps(short(one), ensure_ascii=False) for one in atlas.records)
    return f'{{"$schema": {json.dumps(RECORDS)}, "records": [\n{lines}\n]}}\n'


def short(record: Record) -> dict[str, Any]:
    """Return the fields of a record that comparisons need, under their names in the record."""
    return {
        "path": record_path(record),
        **record.model_dump(mode="json", include=SHORT),
        "dense": record.dense.values,
        "protocol": record.protocol.name,
        "protocol_fingerprint": record.protocol.fingerprint,
        "model": record.model.name,
        "model_sha256": record.model.sha256,
        "dtype": record.model.dtype,
        "machine": record.hardware.machine,
        "peak_bytes": record.peak.bytes,
        "commit": record.commit,
    }


def leaderboard_csv(boards: list[Board]) -> str:
    """Write all rows of all boards like `atlas leaderboard`, with the paths of their records."""
    lines = [
        row_line(board, row) | {"records": [record_path(record) for record in row.records]}
        for board in boards
        for row in board.rows
    ]
    return to_csv(lines)


def feed(atlas: Atlas) -> str:
    """Write the Atom feed of the papers added last; within a day, they are sorted by name.

    Links are relative if the address of the site is not known.
    """
    by_name = sorted(atlas.papers, key=lambda slug: atlas.names[slug].lower())
    newest = sorted(by_name, key=lambda slug: atlas.papers[slug].added, reverse=True)
    return fill("feed.xml", atlas=atlas, slugs=newest[:MAX_ENTRIES], identifier=identifier)


def identifier(name: str) -> str:
    """Return an identifier for the feed that stays the same if the site moves."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"urn:pruning-atlas:{name}").urn


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"
