"""Data files: the records as they were written, and the catalog and the leaderboard for others."""

from __future__ import annotations

from collections.abc import Iterator

from tools.site.addresses import record_path
from tools.site.atlas import Atlas
from tools.site.data_files import made


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the JSON file of every record, and the files in `FILES`."""
    yield from ((record_path(record), record.to_json()) for record in atlas.records)
    yield from made(atlas).items()
