"""The data for others to use: catalog, records and leaderboard as files."""

from __future__ import annotations

import json
from typing import Any

from implementations.harness.results.boards import Board
from implementations.harness.results.record import Record
from implementations.harness.results.table import row_line, to_csv
from tools.catalog.exports.formats import EXPORTS
from tools.catalog.schema.paper import Paper
from tools.site.addresses import record_path
from tools.site.atlas import Atlas

RECORDS = "urn:pruning-atlas:records:1"
"""Name of the layout of `records.json`; the number grows when a reader would have to change."""

ASKED = ("run", "key", "date", "command", "method", "granularity", "configuration", "changed")
FOUND = ("asked", "achieved", "seed", "values", "footprint", "speed", "labels", "seconds")
SHORT = {*ASKED, *FOUND}
"""Fields that `records.json` takes from a record as they are."""

FILES = {
    "papers.json": "Every entry of the catalog with all its fields, and what is derived from them",
    "papers.bib": "BibTeX of every paper",
    "papers.csv": "One row a paper, for spreadsheets",
    "records.json": "One object a run: what was asked, what was measured, where its record lies",
    "leaderboard.csv": "One row a setting, over its seeds, with the dense values beside",
    "schema.json": "JSON Schema of an entry of the catalog",
    "record.schema.json": "JSON Schema of a record",
    "feed.xml": "Atom feed of the papers added last",
    "llms.txt": "What there is here, for language models",
}
"""Address and meaning of each file; the addresses stay."""


def made(atlas: Atlas) -> dict[str, str]:
    """Make the files, by name; the feed and `llms.txt` are made with the pages they are of."""
    methods = {slug: bool(method.records) for slug, method in atlas.methods.items()}
    exports = {name: EXPORTS[name](atlas.papers, methods) for name in EXPORTS if name in FILES}
    return exports | {
        "records.json": records_json(atlas),
        "leaderboard.csv": leaderboard_csv(atlas.boards),
        "schema.json": _json(Paper.model_json_schema(by_alias=True)),
        "record.schema.json": _json(Record.model_json_schema()),
    }


def records_json(atlas: Atlas) -> str:
    """Write the records in short, one a line; the whole of each lies at its `path`."""
    lines = ",\n".join(json.dumps(short(one), ensure_ascii=False) for one in atlas.records)
    return f'{{"$schema": {json.dumps(RECORDS)}, "records": [\n{lines}\n]}}\n'


def short(record: Record) -> dict[str, Any]:
    """Leave of a record what comparing needs, each field under the name it has there."""
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
    """Write every row of every board as the terminal does, with the places of its records."""
    lines = [
        row_line(board, row) | {"records": [record_path(record) for record in row.records]}
        for board in boards
        for row in board.rows
    ]
    return to_csv(lines)


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"
