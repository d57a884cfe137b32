"""Files: paths from users, hashes, readable JSON, and writes that are atomic, locked and checked.

`check_writable` tries a write before any work; `atomic_file` leaves a file complete or absent.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from implementations.harness.errors import AtlasError, BadInput, Unavailable
from implementations.harness.results.reading import Place

PATIENCE = 10.0
"""Seconds to wait for another process; only a large model takes longer to write."""
MAX_PATH = 300
"""Maximum length of a path in a message."""


@contextmanager
def atomic_file(path: Path, *, replace: bool = True) -> Iterator[IO[bytes]]:
    """Open a file that appears at `path` at the end of the block, or not at all if it raises.

    It is written to `.<name>.<random>.tmp` in the same folder, synced and renamed. A killed process
    leaves this temporary file, which `remove_leftovers` removes.

    Raises:
        FileExistsError: a file exists at `path` at the end, and `replace` is False.
        OSError: the folder is missing or cannot be written, or the disk is full.
    """
    temporary = temporary_name(path)
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        else:
            path.hardlink_to(temporary)  # unlike a rename, fails if the target exists
    finally:
        temporary.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    """Return a new name for the time while a file is written."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files that killed processes left for `path`; call with it locked."""
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.????????.tmp"):
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file atomically and create its folder if needed.

    Raises:
        Unavailable: the folder cannot be written or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise Unavailable(
            f"cannot write {short_path(path)}: {error.strerror}; free some space or choose another "
            "folder"
        ) from error


def format_json(value: Any, indent: str = "") -> str:
    """Format JSON with one field per line; a list of plain values stays on one line."""
    inner = indent + "  "
    if isinstance(value, dict) and value:
        rows = [f"{json.dumps(key)}: {format_json(item, inner)}" for key, item in value.items()]
        return "{\n" + inner + f",\n{inner}".join(rows) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        rows = [format_json(item, inner) for item in value]
        return "[\n" + inner + f",\n{inner}".join(rows) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


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


def check_writable(folder: Path, name: str = "file") -> None:
    """Raise `Unavailable` unless a file `name` can be written in `folder`; leaves no file.

    A file without a name is written in the closest existing parent, so that not even a kill leaves
    one.
    """
    folder = resolve(folder)
    parent = nearest_existing(folder)
    temporary = temporary_name(Path(name))
    try:
        with TemporaryFile(dir=parent) as file:
            file.write(b"tried")
        new = folder.relative_to(parent).parts
        for path in (folder / temporary, *(parent / part for part in (*new, temporary.name))):
            with suppress(FileNotFoundError):
                path.lstat()  # raises for a name or a path that is too long
    except OSError as error:
        raise Unavailable(
            f"cannot write to {short_path(folder)}: {error.strerror}; choose another folder"
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


def check_printable(path: str, what: str) -> None:
    """Raise `BadInput`, naming `what`, for a path that a record cannot name."""
    try:
        TypeAdapter(Place).validate_python(path)
    except ValidationError as error:
        raise BadInput(
            f"{what}: {short_path(path)} has control characters in its name; rename it"
        ) from error


def user_path(name: str, what: str) -> Path:
    """Return the path that a user entered for `what`, with `~` expanded; it need not exist.

    Raises `BadInput` if it is not a valid path.
    """
    try:
        name.encode()
        path = Path(name).expanduser()
        absolute = path.absolute()
        with suppress(FileNotFoundError, NotADirectoryError):
            absolute.stat()
    except (RuntimeError, ValueError, OSError) as error:  # no such user, no UTF-8, too long
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadInput(f"{what}: {name[:100]!r} is not a valid path: {reason}") from error
    return path


@contextmanager
def partial_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder next to `target`, which must be locked, and remove it at the end.

    Those that killed processes left are removed first.
    """
    prefix = f".{target.name}.partial-"
    for abandoned in target.parent.glob(f"{glob.escape(prefix)}*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    with TemporaryDirectory(prefix=prefix, dir=target.parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def disk_errors_explained(folder: Path, advice: str) -> Iterator[None]:
    """Raise `Unavailable` with `advice` for errors of the disk, such as one that is full."""
    try:
        yield
    except Exception as error:
        # safetensors and tokenizers raise from Rust, with "os error" in the message only.
        disk = getattr(error, "errno", None) is not None or "os error" in str(error)
        if isinstance(error, AtlasError) or not disk:
            raise
        reason = getattr(error, "strerror", None) or error
        raise Unavailable(
            f"{short_path(folder)} could not be written: {reason}. {advice}"
        ) from error


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of the file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
