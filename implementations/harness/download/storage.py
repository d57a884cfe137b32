"""The cache folder, in which every file or folder is either complete or absent."""

import errno
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from implementations.harness.errors import BadInput, Unavailable

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


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


def build(target: Path, make: Callable[[Path], Path]) -> None:
    """Create `target` unless it exists; other processes wait for the result.

    `make` gets an empty folder next to `target` and returns the file or folder that it created
    there, which is then renamed to `target`.

    Raises `Unavailable` if the disk is full or the folder is not writable; nothing is left behind.
    """
    cache, prefix = target.parent, f".{target.name}.partial-"
    with _disk_errors_explained(cache):
        if target.exists():
            return
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError as error:  # for example in /proc
            raise PermissionError(errno.EPERM, error.strerror, error.filename) from error
        with FileLock(cache / f".{target.name}.lock"):
            if target.exists():  # another process created it while this one waited
                return
            for abandoned in cache.glob(f"{prefix}*"):  # by a killed process
                shutil.rmtree(abandoned, ignore_errors=True)
            with tempfile.TemporaryDirectory(
                prefix=prefix, dir=cache, ignore_cleanup_errors=True
            ) as folder:
                make(Path(folder)).replace(target)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of the file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _disk_errors_explained(cache: Path) -> Iterator[None]:
    """Raise `Unavailable` if the disk is full or the cache is not writable."""
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        # safetensors and tokenizers raise from Rust, with the number in the message only.
        if number in _DISK_FULL or any(f"os error {full}" in str(error) for full in _DISK_FULL):
            raise Unavailable(
                f"no space left in {cache}: the embedded model needs about 650 MB. Free some "
                "space, or set PRUNING_ATLAS_CACHE to a folder on a larger disk"
            ) from error
        if number in _NOT_WRITABLE:
            raise Unavailable(
                f"cannot write to {cache} ({error}); set PRUNING_ATLAS_CACHE to a writable folder"
            ) from error
        raise
