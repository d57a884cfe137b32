"""Writing a file of the catalog whole or not at all, one process at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from implementations.harness.results.files import atomic_file

LOCK = ".lock"
PATIENCE = 10.0
"""Seconds to wait for another process; writing an entry takes milliseconds."""


class Unwritable(Exception):
    """A file that could not be written, with a sentence that says why."""


def create(
    path: Path, text: str, *, force: bool = False, look: Callable[[], None] | None = None
) -> None:
    """Write a new file; `force` replaces one that is there.

    `look` looks once more at the folder, where no other process can write any longer; what it
    raises ends it. Raises `Unwritable` if there is such a file otherwise, or where disk or another
    process does not let it. The file appears whole or not at all, whatever happens to this process.
    """
    try:
        path.parent.stat()  # the lock would make a folder that is not there
        with FileLock(path.parent / LOCK, timeout=PATIENCE):
            _sweep(path.parent)
            if not force and os.path.lexists(path):
                raise FileExistsError
            if look:
                look()
            with atomic_file(path, replace=force) as file:
                file.write(text.encode())
    except FileExistsError:
        raise Unwritable(f"{path} exists already and was left as it is") from None
    except Timeout:
        raise Unwritable(
            f"{path} was not written: another process has held the catalog for {PATIENCE:.0f}"
            " seconds; try again when it has ended"
        ) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise Unwritable(f"{path} was not written: {reason[:1].lower()}{reason[1:]}") from error


def _sweep(folder: Path) -> None:
    """Remove what a killed process left; under the lock no other can be at work on it."""
    for left in folder.glob(".*.tmp"):
        left.unlink(missing_ok=True)
