"""Programs that download for us: watched while they run, and stopped when nothing comes."""

import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from implementations.harness.errors import Unavailable
from implementations.harness.progress import track

MEGABYTE = 1_000_000
_SLOWEST = 1_000  # bytes a second; less, for as long as patience lasts, is standing still
_LONGEST = 10_000_000  # bytes of what a program says that are kept, the last ones


def run_watched(
    command: Sequence[str],
    what: str,
    into: Path,
    *,
    patience: float,
    total: int | None = None,
    most: float = float("inf"),
    variables: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Run a program that downloads `what` into the folder `into`; return its exit code and words.

    Libraries bound the wait for the next byte only, so that a server which trickles holds them for
    ever. `total` bytes are expected, for the bar.

    Raises:
        Unavailable: it stood still for `patience` seconds, or brought more than `most` bytes.
    """
    steps = None if total is None else -(-total // MEGABYTE)
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            command,
            cwd=into,
            env=os.environ | dict(variables or {}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            coming = _megabytes(_arriving(process, into, what, patience, most), steps)
            for _ in track(coming, f"downloading {what}", steps):
                pass
        finally:
            _stop(process)
        log.seek(max(0, log.seek(0, os.SEEK_END) - _LONGEST))
        return process.returncode, log.read().decode(errors="replace")


def _arriving(
    process: subprocess.Popen[bytes], into: Path, what: str, patience: float, most: float
) -> Iterator[int]:
    """Yield ten times a second how many bytes have come into the folder, until the program ends."""
    before = _bytes_in(into)
    mark, since = 0, time.monotonic()
    running = True
    while running:
        time.sleep(0.1)
        running = process.poll() is None
        arrived = _bytes_in(into) - before
        if arrived > most:
            raise Unavailable(
                f"{what}: more than the {most:,} bytes came that it can have; the download was "
                "stopped. Check where it is fetched from."
            )
        if abs(arrived - mark) >= _SLOWEST * patience:  # less, where a file is begun again
            mark, since = arrived, time.monotonic()
        elif running and time.monotonic() - since > patience:
            raise Unavailable(
                f"{what}: over {patience:,.0f} seconds less than {_SLOWEST / 1e3:.0f} kB a second "
                "came; the download was stopped. Check the network, and run again."
            )
        yield arrived


def _megabytes(arrived: Iterator[int], steps: int | None) -> Iterator[None]:
    """Yield once for each megabyte that has come, at most `steps` times."""
    seen = 0
    for count in arrived:
        whole = count // MEGABYTE if steps is None else min(steps, count // MEGABYTE)
        for _ in range(whole - seen):
            yield
        seen = max(seen, whole)


def _bytes_in(folder: Path) -> int:
    """Bytes written to the files in `folder`; some get their length before their content."""
    try:
        found = [path.lstat() for path in folder.rglob("*")]
    except OSError:  # a file was moved while we looked
        return 0
    files = [about for about in found if stat.S_ISREG(about.st_mode)]
    return sum(
        min(about.st_size, getattr(about, "st_blocks", sys.maxsize) * 512) for about in files
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Let a program that still runs remove what it has half fetched, and end it."""
    process.terminate()
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        process.kill()
