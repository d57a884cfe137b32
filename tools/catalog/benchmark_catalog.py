"""How long a thousand entries take: `python -m tools.catalog.benchmark_catalog`.

Wanted on two cores, without a network: checked in under 3 seconds, exported in under 5. Whole
commands are timed, with the start of Python and the imports.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tools.catalog.synthetic import write_papers
from tools.repository import REPOSITORY

COUNT = 1000
REPEATS = 3


def main() -> None:
    """Time both commands on invented entries and print the best of three."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "catalog" / "papers"
        folder.mkdir(parents=True)
        write_papers(folder, COUNT)
        size = sum(path.stat().st_size for path in folder.iterdir())
        sys.stdout.write(f"{COUNT:,} entries, {size / 1e6:.1f} MB\n")
        for what, command in {
            "checked": ["check_catalog.py", "--no-hints", "--papers", str(folder)],
            "exported": ["export.py", "--papers", str(folder), "--out", name],
        }.items():
            seconds, busy, last = min(_timed(command) for _ in range(REPEATS))
            told = f"{what} in {seconds:.2f} s, of which computing {busy:.2f} s ({last})"
            sys.stdout.write(f"{told}\n")


def _timed(command: list[str]) -> tuple[float, float, str]:
    """Return seconds by the clock, seconds of the processor, and the last line printed."""
    start, before = time.perf_counter(), _busy()
    script, *options = command
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "tools" / script), *options],
        capture_output=True,
        text=True,
        check=True,
    )
    return time.perf_counter() - start, _busy() - before, done.stdout.strip().splitlines()[-1]


def _busy() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
