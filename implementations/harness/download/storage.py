"""Files and folders of the cache: complete or absent, whatever happens while they are made."""

import errno
import hashlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from implementations.harness.errors import BadInput, Unavailable

_FULL = {errno.ENOSPC, errno.EDQUOT}
_UNUSABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENOTDIR, errno.EISDIR}
_UNUSABLE |= {errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG}


def user_path(name: str, what: str) -> Path:
    """The path that a user wrote for `what`, `~` expanded; there may be nothing at it yet.

    Raises:
        BadInput: no system could open it, or no record and no tokenizer could name it.
    """
    try:
        name.encode()
        path = Path(name).expanduser()
        absolute = path.absolute()
        with suppress(FileNotFoundError, NotADirectoryError):
            absolute.stat()
    except (RuntimeError, ValueError, OSError) as error:  # no such user, no UTF-8, too long
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadInput(f"{what} cannot be the path {name[:100]!r}: {reason}") from error
    return path


def build(
    target: Path,
    needed: int,
    make: Callable[[Path], Path],
    damage: Callable[[Path], str | None] = lambda target: None,
) -> None:
    """Make `target` unless it exists, in one process at a time.

    `make` works in an empty folder beside `target` and returns the file or folder in it that is
    then renamed to `target`. A process that waited for another one finds its result. `needed` is
    the free space in bytes that the work takes. `damage` says what is wrong with a target that is
    there; such a one is replaced, with a warning, once a new one is made.

    Raises:
        Unavailable: the disk is full or the folder cannot be used; nothing is left behind.
    """
    cache = target.parent
    with disk_errors_explained(cache, needed):
        if target.exists() and damage(target) is None:
            return
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError as error:  # such as /proc, where nobody can make a folder
            raise PermissionError(errno.EPERM, error.strerror, error.filename) from error
        with FileLock(cache / f".{target.name}.lock"):
            _remove_leftovers(target)
            if target.exists():
                wrong = damage(target)
                if wrong is None:  # another process was faster
                    return
                warnings.warn(f"{target} is damaged: {wrong}; it is made anew", stacklevel=2)
            if shutil.disk_usage(cache).free < needed:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            with tempfile.TemporaryDirectory(
                prefix=_prefix(target), dir=cache, ignore_cleanup_errors=True
            ) as folder:
                made = make(Path(folder))
                if target.exists() or target.is_symlink():  # who reads it may go on doing so
                    target.rename(Path(folder) / "replaced")
                made.replace(target)


@contextmanager
def disk_errors_explained(folder: Path, needed: int) -> Iterator[None]:
    """Turn a full disk or an unusable `folder` into `Unavailable`; other errors pass."""
    try:
        yield
    except Exception as error:
        if _is_full(error):
            raise Unavailable(
                f"no space left in {folder}: about {needed / 1e6:,.0f} MB are needed. Free some "
                "space, or set PRUNING_ATLAS_CACHE to a folder on a larger disk."
            ) from error
        if isinstance(error, OSError) and error.errno in _UNUSABLE:
            raise Unavailable(
                f"cannot write in {folder} ({error.strerror}: {error.filename or folder}): remove "
                "what is in the way, or set PRUNING_ATLAS_CACHE to a folder that you may write."
            ) from error
        raise


def file_sha256(path: Path) -> str:
    """SHA-256 of the file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _prefix(target: Path) -> str:
    return f".{target.name}.partial-"


def _remove_leftovers(target: Path) -> None:
    """Remove what killed processes left; under the lock nobody else is at work on `target`."""
    for folder in target.parent.glob(f"{_prefix(target)}*"):
        if folder.is_dir():  # opening a pipe would wait for who writes
            shutil.rmtree(folder, ignore_errors=True)


def _is_full(error: Exception) -> bool:
    """Whether the disk is full; safetensors and tokenizers write in Rust and say it in words."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(f"os error {number}" in str(error) for number in _FULL)
