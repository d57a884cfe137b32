"""Files that appear whole or not at all, and one process at a time."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from tools.catalog.entries import locking
from tools.catalog.entries.locking import LOCK, Unwritable, create
from tools.repository import REPOSITORY

LONG = "text\n" * 50_000

# Ends itself, as if by `kill -9`, at the call that the first argument counts to.
VICTIM = """
import os, signal, sys
from pathlib import Path
from tools.catalog.entries.locking import create

count = int(sys.argv[1])
watched = {"open", "os.link", "os.rename", "os.remove", "fcntl.flock"}

def watch(event, arguments):
    global count
    if event in watched and "entry" in str(arguments) or event == "fcntl.flock":
        count -= 1
        if count == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sync = os.fsync
def fsync(number):
    watch("os.rename", "entry")
    sync(number)
os.fsync = fsync

sys.addaudithook(watch)
create(Path(sys.argv[2]), "text\\n" * 50_000, force=len(sys.argv) > 3)
"""
# Waits for the starting signal, a file, and then creates with many others.
RACER = """
import sys, time
from pathlib import Path
from tools.catalog.entries.locking import Unwritable, create

path, own = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
try:
    create(path, own * 100_000)
except Unwritable as error:
    sys.exit(str(error))
"""


def python(script: str, *arguments: object, **more: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=REPOSITORY,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_new_file_holds_the_text_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "entry.yaml"
    create(path, "é: 1\r\n")
    assert path.read_bytes() == "é: 1\r\n".encode()
    assert [left.name for left in tmp_path.iterdir() if left.name != LOCK] == ["entry.yaml"]
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_an_existing_file_is_left_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "entry.yaml"
    path.write_text("old")
    with pytest.raises(Unwritable, match=r"entry\.yaml exists already and was left as it is"):
        create(path, "new")
    assert path.read_text() == "old"
    create(path, "new", force=True)
    assert path.read_text() == "new"


def test_a_file_that_appears_between_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that knows nothing of the lock may write at the same moment."""
    path = tmp_path / "entry.yaml"
    sync = os.fsync

    def appear(number: int) -> None:
        path.write_text("another's")
        sync(number)

    monkeypatch.setattr(os, "fsync", appear)
    with pytest.raises(Unwritable, match="exists already"):
        create(path, "mine")
    assert path.read_text() == "another's"
    assert {left.name for left in tmp_path.iterdir()} <= {"entry.yaml", LOCK}


@pytest.mark.parametrize("old", [None, "old\n"])
def test_killed_at_any_moment_no_half_file_is_left(tmp_path: Path, old: str | None) -> None:
    path = tmp_path / "entry.yaml"
    moments = 0
    for moment in range(1, 50):
        path.unlink(missing_ok=True)
        if old:
            path.write_text(old)
        victim = python(VICTIM, moment, path, *(["force"] if old else []))
        _, errors = victim.communicate(timeout=300)
        if victim.returncode == 0:
            break
        assert victim.returncode == -signal.SIGKILL, errors
        moments += 1
        assert (path.read_text() if path.exists() else None) in (old, LONG)
    assert moments >= 4, "the writes were not seen"
    path.unlink()
    create(path, "new")
    assert path.read_text() == "new"
    assert {left.name for left in tmp_path.iterdir()} <= {"entry.yaml", LOCK}


def test_of_many_at_once_one_wins_and_the_others_say_so(tmp_path: Path) -> None:
    path = tmp_path / "entry.yaml"
    racers = [python(RACER, path, letter) for letter in "abcd"]
    for racer in racers:
        assert racer.stdout
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("go\n")
        racer.stdin.flush()
    told = [racer.communicate(timeout=300)[1] for racer in racers]
    assert sorted(racer.returncode for racer in racers) == [0, 1, 1, 1]
    assert sum("exists already and was left as it is" in errors for errors in told) == 3
    text = path.read_text()
    assert len(text) == 100_000
    assert len(set(text)) == 1


def test_a_lock_that_is_held_is_waited_for_and_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locking, "PATIENCE", 0.1)
    with FileLock(tmp_path / LOCK), pytest.raises(Unwritable, match="another process has held"):
        create(tmp_path / "entry.yaml", "text")
    assert not (tmp_path / "entry.yaml").exists()


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fails_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, forced: bool
) -> None:
    path = tmp_path / "entry.yaml"

    def fail(number: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(Unwritable) as caught:
        create(path, "text", force=forced)
    reason = os.strerror(code)
    assert str(caught.value) == f"{path} was not written: {reason[0].lower()}{reason[1:]}"
    assert {left.name for left in tmp_path.iterdir()} <= {LOCK}


def test_a_full_disk_is_one_sentence(small_disk: Path) -> None:
    with pytest.raises(Unwritable, match=r"was not written: no space left on device$"):
        create(small_disk / "entry.yaml", LONG * 20)
    assert {left.name for left in small_disk.iterdir()} <= {LOCK}
    create(small_disk / "entry.yaml", "small\n")


def test_a_read_only_folder_is_one_sentence(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(Unwritable, match=r"was not written: read-only file system$"):
        create(small_disk / "entry.yaml", "text")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_one_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(Unwritable, match=r"was not written: permission denied$"):
        create(tmp_path / "entry.yaml", "text")


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Unwritable, match=r"was not written: no such file or directory$"):
        create(tmp_path / "none" / "entry.yaml", "text")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte in memory, where mounting is allowed."""
    with mounted(tmp_path) as folder:
        yield folder


@contextmanager
def mounted(folder: Path) -> Iterator[Path]:
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no mount: {error}")
    if done.returncode:
        pytest.skip(f"mounting is not allowed: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
