"""What long work has paid for, written down as it goes: what was killed goes on where it was.

with remembered(path):
    method.apply(model, calibration, seed)      # its searches and trainings read and write

A method is deterministic, so that a search asks for the same masks again; those that stand in the
file are answered from there. A training puts its state into a file beside it. Both must belong to
one request: model, text, settings and seed.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from implementations.harness.errors import Unavailable


class Journal:
    """Losses by mask of all searches of one pruning, and the files of its trainings."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.known = dict(_read(path)) if path is not None else {}
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
            with self.path.open("a") as file:
                file.write(f"{_name(search, mask)} {loss.hex()} {seconds.hex()}\n")
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
            kept.unlink(missing_ok=True)


def _name(search: int, mask: bytes) -> str:
    return hashlib.sha256(f"{search} ".encode() + mask).hexdigest()


def _read(path: Path) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield what stands in a file, but a line that was cut off in writing."""
    if not path.exists():
        return
    for line in path.read_text().splitlines(keepends=True):
        parts = line.split()
        if line.endswith("\n") and len(parts) == 3:
            yield parts[0], (float.fromhex(parts[1]), float.fromhex(parts[2]))
