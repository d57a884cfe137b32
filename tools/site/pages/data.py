"""Data files: unchanged records, and the catalog and the leaderboard for other programs."""

from __future__ import annotations

from collections.abc import Iterator

from tools.site.addresses import record_path
from tools.site.atlas import Atlas
from tools.site.data_files import data_files


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the JSON file of every record, and the files in `FILES`."""
    yield from ((record_path(record), record.to_json()) for record in atlas.records)
    yield from data_files(atlas).items()
