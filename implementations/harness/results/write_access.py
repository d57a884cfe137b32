"""Output folders: checked for write access before any work, locked against other processes."""

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
from implementations.harness.results.files import atomic_file

PATIENCE = 10.0
"""Seconds to wait for another process; only a large model takes longer to write."""
TRIAL = f".atlas-{platform.node()}-"
"""Prefix of the names of trial folders; the id of the process follows."""
MAX_PATH = 300
"""Maximum length of a path in a message."""


def resolve(path: str | os.PathLike[str]) -> Path:
    """Resolve all symbolic links of an output path, which need not exist.

    Raises:
        BadInput: the path is invalid or not UTF-8.
        Unavailable: the working directory was deleted, the links form a loop, or permission is
            denied.
    """
    try:
        resolved = Path(os.path.realpath(path))
        str(resolved).encode()
        if resolved.is_symlink():
            resolved.stat()  # raises for a loop
    except ValueError as error:
        raise BadInput(f"cannot write to {short_path(path)}: {error}") from error
    except OSError as error:
        raise Unavailable(f"cannot write to {short_path(path)}: {error.strerror}") from error
    return resolved


def nearest_existing(folder: Path) -> Path:
    """Return the folder itself or its closest parent that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))


def short_path(path: str | os.PathLike[str]) -> str:
    """Format a path for a message: printable, and shortened in the middle if it is long."""
    text = os.fspath(path)
    text = text if text.isprintable() else ascii(text)
    half = MAX_PATH // 2
    return text if len(text) <= MAX_PATH else f"{text[:half]}...{text[-half:]}"


@contextmanager
def trial_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary path on which to try writing as in `folder`, which need not exist.

    The path is a hidden folder inside the closest existing parent, so that `folder` itself never
    appears. Trial folders of killed processes of this machine are removed first.
    """
    folder = resolve(folder)
    parent = nearest_existing(folder)
    _remove_trials(parent)
    with TemporaryDirectory(prefix=f"{TRIAL}{os.getpid()}-", dir=parent) as temporary:
        yield Path(temporary, folder.relative_to(parent))


def _remove_trials(parent: Path) -> None:
    import psutil  # not a dependency of the tools, which import this module

    for trial in parent.glob(f"{glob.escape(TRIAL)}*-*"):
        process = trial.name.removeprefix(TRIAL).partition("-")[0]
        if process.isdecimal() and not psutil.pid_exists(int(process)):
            shutil.rmtree(trial, ignore_errors=True)


def check_writable(folder: Path, name: str = "file") -> None:
    """Raise `Unavailable` unless a file `name` can be written in `folder`; leaves no file."""
    try:
        with trial_folder(folder) as trial, locked(trial / name), atomic_file(trial / name):
            pass
    except OSError as error:
        raise Unavailable(
            f"cannot write {short_path(folder / name)}: {error.strerror}; choose another folder"
        ) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock `path` against other processes with a lock file next to it, removed at the end.

    Raises:
        Unavailable: another process still holds the lock after `PATIENCE` seconds.
        OSError: the lock file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock_file = path.with_name(f".{path.name}.lock")
    lock = FileLock(lock_file, timeout=PATIENCE)
    try:
        lock.acquire()
    except Timeout:
        raise Unavailable(
            f"another process is writing {short_path(path)}; try again when it has finished"
        ) from None
    try:
        yield
    finally:
        lock_file.unlink(missing_ok=True)  # a waiting process notices and creates a new one
        lock.release()
