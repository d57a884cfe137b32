"""Print everything that a change of the machinery must not change, to compare before and after.

python -m tests.golden > before.txt
python -m tests.golden site > before.txt     # also the addresses of a built site
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from implementations.harness.results import table
from implementations.harness.results.store import load_records, published_folders
from tools.site.answers import Ranking
from tools.site.atlas import read
from tools.site.replication import all_comparisons


def lines() -> Iterator[str]:
    """Yield leaderboards, ranks, verdicts, keys, methods, the list, and addresses of pages."""
    atlas = read()
    yield table.to_csv(table.lines(atlas.boards))
    for board in atlas.boards:
        for one in Ranking(board, atlas).by_row.values():
            yield f"{board.title} | {one.row.method} | {one.row.settings} | {one.rank}"
    for pair in all_comparisons(atlas):
        yield f"{pair.method} | {pair.other} | {pair.removed} | {pair.order} | {pair.verdict}"
    for record in sorted(load_records(published_folders()), key=lambda record: record.name):
        yield f"{record.key} {record.name}"
    methods = [sys.executable, "-m", "implementations.harness.cli", "methods"]
    yield subprocess.run(methods, capture_output=True, text=True, check=True).stdout
    yield Path("LIST.md").read_text(encoding="utf-8")
    for folder in map(Path, sys.argv[1:]):
        yield from sorted(str(page.relative_to(folder)) for page in folder.rglob("*"))


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in lines())
