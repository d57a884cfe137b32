"""Data files: the records as they were written, the catalog for others, and a page of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tools.site.atlas import Atlas
from tools.site.files import FILES, made
from tools.site.render import Front, render
from tools.site.words import record_path

FRONT = Front(
    "api/data.md",
    "Data",
    "Catalog, records and leaderboard as files to use elsewhere.",
    styles=("css/learn.css", "css/api.css"),
    sources=("catalog/papers", "implementations"),
    navigation=True,
)


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield every record under its address, and the files for others."""
    yield from ((record_path(record), record.to_json()) for record in atlas.records)
    yield from made(atlas).items()


def page(atlas: Atlas, everything: Mapping[str, str]) -> str:
    """List the files among everything that was made, each with its size."""
    rows = [(name, about, size(everything[name])) for name, about in FILES.items()]
    records = [everything[record_path(record)] for record in atlas.records]
    return render("data", FRONT, atlas, files=rows, total=size(*records))


def size(*texts: str) -> str:
    """Write how many bytes texts have together: `12.3 kB`."""
    count = sum(len(text.encode()) for text in texts)
    for unit, scale in (("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"
