"""What long work has paid for, written down as it goes: what was killed goes on where it was.

with remembered(path):
    method.apply(model, calibration, seed)      # its searches and trainings read and write

A method is deterministic, so that a search asks for the same masks again; those that stand in the
file are answered from there. A training puts its state into a file beside it. Both must belong to
one request: model, text, settings and seed. Both carry checksums: a damaged file is discarded with
a warning, and its work starts over.
"""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from implementations.harness.errors import Unavailable, in_short
from implementations.harness.results.places import shown


class Journal:
    """Losses by mask of all searches of one pruning, and the files of its trainings."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.known = {} if path is None else _read(path)
        self.begun = 0
        self.saved = 0.0
        """Seconds that were spent before on what is answered now."""

    def begin(self) -> int:
        """Number a search or a training; what it keeps is no other one's."""
        self.begun += 1
        return self.begun

    def beside(self, number: int) -> Path | None:
        """Return the file for the state of a training; None where nothing is kept."""
        return self.path and self.path.with_name(f"{self.path.name}.{number}")

    def loss(self, search: int, mask: bytes) -> float | None:
        """Return a loss that was paid for before; None where it was not."""
        loss, seconds = self.known.get(_name(search, mask), (None, 0.0))
        self.saved += seconds
        return loss

    def write(self, search: int, mask: bytes, loss: float, seconds: float) -> None:
        """Add a loss and what it took; raises `Unavailable` where the file cannot be written."""
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(_line(f"{_name(search, mask)} {loss.hex()} {seconds.hex()}"))
        except OSError as error:
            raise Unavailable(f"cannot write {self.path}: {error.strerror}") from error


_open: ContextVar[Journal] = ContextVar("_open", default=Journal())  # noqa: B039  # writes nothing


def journal() -> Journal:
    """Return the journal that is open; one that keeps nothing where none is."""
    return _open.get()


@contextmanager
def remembered(path: Path | None) -> Iterator[None]:
    """Let what is done inside the `with` block keep what it paid for, if there is a path.

    The files are gone when the block ends well, and stay when it does not.
    """
    token = _open.set(Journal(path))
    try:
        yield
    finally:
        _open.reset(token)
    if path is not None:
        for kept in path.parent.glob(f"{glob.escape(path.name)}*"):
            _remove(kept)


def discard(path: Path, error: Exception) -> None:
    """Remove a file of earlier work that reading failed on with `error`, and warn.

    Removes a folder in its place as well. Raises `Unavailable` if it cannot be removed.
    """
    _remove(path)
    reason = in_short(getattr(error, "strerror", None) or error)
    warnings.warn(
        f"{shown(path)} is damaged and was removed; the work saved in it starts over ({reason})",
        stacklevel=2,
    )


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise Unavailable(f"cannot remove {shown(path)}: {error.strerror}") from error


def _name(search: int, mask: bytes) -> str:
    return hashlib.sha256(f"{search} ".encode() + mask).hexdigest()


def _read(path: Path) -> dict[str, tuple[float, float]]:
    """Return the losses and seconds in a journal, by name; nothing from a damaged one.

    A last line that was cut off by the end of the process is removed from the file.
    """
    if not os.path.lexists(path):
        return {}
    try:
        lines, _, rest = path.read_bytes().rpartition(b"\n")
        known = dict(map(_entry, lines.split(b"\n")))
        if rest:
            os.truncate(path, len(lines) + 1)
    except (OSError, ValueError) as error:
        discard(path, error)
        return {}
    return known


def _line(entry: str) -> bytes:
    return f"{entry} {zlib.crc32(entry.encode()):08x}\n".encode()


def _entry(line: bytes) -> tuple[str, tuple[float, float]]:
    """Return name, loss and seconds; raises `ValueError` for a line that `_line` did not write."""
    entry = line.decode("ascii", "replace").rpartition(" ")[0]
    if _line(entry) != line + b"\n":
        raise ValueError("a line does not match its checksum")
    name, loss, seconds = entry.split()
    return name, (float.fromhex(loss), float.fromhex(seconds))
