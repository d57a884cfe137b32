"""Data files: the records as they were written, the catalog for others, and a page of them."""

from __future__ import annotations

from collections.abc import Iterator

from tools.site.atlas import Atlas
from tools.site.files import FILES, made
from tools.site.pages import discovery, news
from tools.site.render import Front, render
from tools.site.words import record_path


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield every record under its address, the files for others, and the list of them."""
    records = {record_path(record): record.to_json() for record in atlas.records}
    files = made(atlas)
    yield from records.items()
    yield from files.items()
    front = Front(
        "Data",
        "Catalog, records and leaderboard as files to use elsewhere.",
        styles=("css/learn.css", "css/api.css"),
        sources=("catalog/papers", "implementations"),
    )
    files |= {"feed.xml": news.feed(atlas), "llms.txt": discovery.llms(atlas)}
    rows = [(name, about, size(files[name])) for name, about in FILES.items()]
    yield "api/data.md", render("data", front, atlas, files=rows, total=size(*records.values()))


def size(*texts: str) -> str:
    """Write how many bytes texts have together: `12.3 kB`."""
    count = sum(len(text.encode()) for text in texts)
    for unit, scale in (("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"
