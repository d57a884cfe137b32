"""Places to write in: found out by trying before the work, and one process at a time."""

from __future__ import annotations

import glob
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock, Timeout

from implementations.harness.errors import BadInput, Unavailable
from implementations.harness.results.files import whole

PATIENCE = 10.0
"""Seconds to wait for another process; what writes longer than that is a large model."""
TRIAL = f".atlas-{platform.node()}-"
"""Begins the name of a trial's folder; the process that made it follows."""
LONGEST = 300
"""Characters of a path in a message."""


def real(path: str | os.PathLike[str]) -> Path:
    """Return where a path leads, every link followed; its end may be missing.

    Raises:
        BadInput: the text is no path, or not UTF-8, which records and models are named in.
        Unavailable: the folder one works in is gone, links lead in a circle, no permission.
    """
    try:
        found = Path(os.path.realpath(path))
        str(found).encode()
        if found.is_symlink():
            found.stat()  # says that it is a circle
    except ValueError as error:
        raise BadInput(f"nothing can be written in {shown(path)}: {error}") from error
    except OSError as error:
        raise Unavailable(f"nothing can be written in {shown(path)}: {error.strerror}") from error
    return found


def nearest(folder: Path) -> Path:
    """The folder itself or the closest of its parents that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))


def shown(path: str | os.PathLike[str]) -> str:
    """A path as a message has it: on one line that a terminal can show, and not without end."""
    text = os.fspath(path)
    text = text if text.isprintable() else ascii(text)
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]}...{text[-half:]}"


@contextmanager
def spare(folder: Path) -> Iterator[Path]:
    """Lend a place for a trial in which all goes as in `folder`, which is not there yet.

    It lies in the nearest folder that is, so that nobody meets a folder which goes again. What
    killed processes of this machine left of theirs is removed first.
    """
    folder = real(folder)
    near = nearest(folder)
    _remove_trials(near)
    with TemporaryDirectory(prefix=f"{TRIAL}{os.getpid()}-", dir=near) as lent:
        yield Path(lent, folder.relative_to(near))


def _remove_trials(near: Path) -> None:
    import psutil  # the tools, which import this module, are installed without it

    for left in near.glob(f"{glob.escape(TRIAL)}*-*"):
        process = left.name.removeprefix(TRIAL).partition("-")[0]
        if process.isdecimal() and not psutil.pid_exists(int(process)):
            shutil.rmtree(left, ignore_errors=True)


def check_writable(folder: Path, name: str = "file") -> None:
    """Find out by trying whether a file `name` can be written in `folder` as records are.

    Nothing of the trial stays. Raises `Unavailable`.
    """
    try:
        with spare(folder) as place, alone(place / name), whole(place / name):
            pass
    except OSError as error:
        raise Unavailable(
            f"cannot write {shown(folder / name)}: {error.strerror}; choose another folder"
        ) from error


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Let one process at a time write at `path`; the lock beside it goes with the last of them.

    Raises:
        Unavailable: another process is still at it after `PATIENCE`.
        OSError: the lock cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.lock")
    lock = FileLock(beside, timeout=PATIENCE)
    try:
        lock.acquire()
    except Timeout:
        raise Unavailable(f"another process is writing {shown(path)}; wait for its end") from None
    try:
        yield
    finally:
        beside.unlink(missing_ok=True)  # who waits for it sees that it is gone, and makes another
        lock.release()
