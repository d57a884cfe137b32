"""Writing a file of the catalog whole or not at all, one process at a time."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = ".lock"
PATIENCE = 10.0
"""Seconds to wait for another process; writing an entry takes milliseconds."""


class Unwritable(Exception):
    """A file that could not be written, with a sentence that says why."""


def create(path: Path, text: str, *, force: bool = False) -> None:
    """Write a new file; `force` replaces one that is there.

    Raises `Unwritable` if there is one otherwise, or where disk or another process does not let
    it. The file appears whole or not at all, whatever happens to this process.
    """
    try:
        path.parent.stat()  # the lock would make a folder that is not there
        with FileLock(path.parent / LOCK, timeout=PATIENCE):
            _sweep(path.parent)
            _place(path, text, force)
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


def _place(path: Path, text: str, force: bool) -> None:
    """Write beside the place and then move there; a link, unlike a move, replaces nothing."""
    if not force and os.path.lexists(path):
        raise FileExistsError
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with beside.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if force:
            beside.replace(path)
        else:
            path.hardlink_to(beside)
    finally:
        beside.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what a killed process left; under the lock no other can be at work on it."""
    for left in folder.glob(".*.tmp"):
        left.unlink(missing_ok=True)
