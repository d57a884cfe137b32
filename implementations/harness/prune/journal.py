"""The journal of a run: results of long searches and trainings, from which a killed run resumes.

with open_journal(path):
    method.apply(model, calibration, seed)      # its searches and trainings use the journal

Methods are deterministic, so a resumed search evaluates the same masks again and finds their losses
in the journal. Trainings save their state in files next to it. A journal must be used for one
request only: model, text, settings and seed. All files have checksums; a damaged file is discarded
with a warning, and its work starts over.
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
from implementations.harness.results.files import short_path


class Journal:
    """The losses of all searches of a run, by mask, and the files of its trainings."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.known = {} if path is None else _read(path)
        self.count = 0
        self.saved = 0.0
        """Seconds that earlier runs spent on results that were reused."""

    def begin(self) -> int:
        """Return a number for a search or a training, which identifies its results."""
        self.count += 1
        return self.count

    def state_file(self, number: int) -> Path | None:
        """Return the file for the state of a training, or None without a journal file."""
        return self.path and self.path.with_name(f"{self.path.name}.{number}")

    def loss(self, search: int, mask: bytes) -> float | None:
        """Return the saved loss of a mask, or None."""
        loss, seconds = self.known.get(_name(search, mask), (None, 0.0))
        self.saved += seconds
        return loss

    def write(self, search: int, mask: bytes, loss: float, seconds: float) -> None:
        """Save a loss and the seconds it took; raises `Unavailable` if the file is not writable."""
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(_line(f"{_name(search, mask)} {loss.hex()} {seconds.hex()}"))
        except OSError as error:
            raise Unavailable(
                f"cannot write {self.path}: {error.strerror}; free some space or use another folder"
            ) from error


_open: ContextVar[Journal] = ContextVar("_open", default=Journal())  # noqa: B039  # writes nothing


def journal() -> Journal:
    """Return the open journal, or one that saves nothing."""
    return _open.get()


@contextmanager
def open_journal(path: Path | None) -> Iterator[None]:
    """Save the results of work inside the `with` block, if there is a path.

    The files are removed when the block ends, but not after an exception.
    """
    token = _open.set(Journal(path))
    try:
        yield
    finally:
        _open.reset(token)
    if path is not None:
        for file in path.parent.glob(f"{glob.escape(path.name)}*"):
            _remove(file)


def discard(path: Path, error: Exception) -> None:
    """Remove a file or folder that could not be read because of `error`, and warn.

    Raises `Unavailable` if it cannot be removed.
    """
    _remove(path)
    reason = in_short(getattr(error, "strerror", None) or error)
    warnings.warn(
        f"{short_path(path)} is damaged and was removed; the work saved in it starts over "
        f"({reason})",
        stacklevel=2,
    )


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise Unavailable(f"cannot remove {short_path(path)}: {error.strerror}") from error


def _name(search: int, mask: bytes) -> str:
    return hashlib.sha256(f"{search} ".encode() + mask).hexdigest()


def _read(path: Path) -> dict[str, tuple[float, float]]:
    """Return the losses and seconds in a journal, by name, or nothing if it is damaged.

    An incomplete last line, left by a killed process, is removed from the file.
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
    """Parse name, loss and seconds; raises `ValueError` for a damaged line."""
    entry = line.decode("ascii", "replace").rpartition(" ")[0]
    if _line(entry) != line + b"\n":
        raise ValueError("a line does not match its checksum")
    name, loss, seconds = entry.split()
    return name, (float.fromhex(loss), float.fromhex(seconds))
