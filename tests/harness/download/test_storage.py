"""What is built is complete or absent: after kill -9, beside another process, on a full disk."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from implementations.harness.download.storage import build, disk_errors_explained, file_sha256
from implementations.harness.errors import Unavailable

ROOT = Path(__file__).parents[3]

# Builds `target` slowly: says that it began, waits until it may go on, writes its own name.
BUILDER = """
import sys, time
from pathlib import Path
from implementations.harness.download.storage import build

target, name, patience = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])

def damage(target):
    return None if (target / "whole").exists() else "it is not whole"

def make(folder):
    (folder / "made").mkdir()
    (folder / "made" / "half").write_text(name)
    patience.with_suffix(".began").write_text(name)
    while not patience.exists():
        time.sleep(0.02)
    (folder / "made" / "whole").write_text(name)
    return folder / "made"

print("ready", flush=True)
build(target, 0, make, damage)
"""


def start_builder(target, name, patience):
    command = [sys.executable, "-c", BUILDER, str(target), name, str(patience)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def wait_for(condition, process):
    """Wait for what a process does, for as long as it lives."""
    while not condition():
        assert process.poll() is None, "it ended before"
        time.sleep(0.02)


def visible(folder):
    """Names in `folder` but for the lock files, which stay."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def make_file(content):
    def make(folder):
        (folder / "file").write_text(content)
        return folder / "file"

    return make


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 4 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only an administrator on Linux may mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_builds_once(tmp_path):
    target = tmp_path / "deep" / "cache" / "target"
    build(target, 0, make_file("first"))
    build(target, 0, make_file("second"))
    assert target.read_text() == "first"
    assert visible(target.parent) == ["target"]


def test_a_second_process_waits_and_finds_the_result_of_the_first(tmp_path):
    target = tmp_path / "cache" / "target"
    first_may, second_may = tmp_path / "first.go", tmp_path / "second.go"
    first = start_builder(target, "first", first_may)
    wait_for(first_may.with_suffix(".began").exists, first)
    second = start_builder(target, "second", second_may)
    assert second.stdout.readline() == "ready\n"  # next is the lock
    assert second.poll() is None
    assert not target.exists()
    first_may.touch()
    for process in (first, second):
        process.communicate(timeout=300)
        assert process.returncode == 0
    assert (target / "whole").read_text() == "first"
    assert not second_may.with_suffix(".began").exists()
    assert visible(target.parent) == ["target"]


def test_what_is_damaged_is_replaced_once_by_two_processes_at_once(tmp_path):
    target = tmp_path / "cache" / "target"
    target.mkdir(parents=True)
    (target / "half").write_text("damaged")
    first_may, second_may = tmp_path / "first.go", tmp_path / "second.go"
    first = start_builder(target, "first", first_may)
    wait_for(first_may.with_suffix(".began").exists, first)
    second = start_builder(target, "second", second_may)
    assert second.stdout.readline() == "ready\n"  # next is the lock
    assert (target / "half").read_text() == "damaged"  # until there is another
    first_may.touch()
    for process in (first, second):
        process.communicate(timeout=300)
        assert process.returncode == 0
    assert (target / "whole").read_text() == "first"
    assert not second_may.with_suffix(".began").exists()
    assert visible(target.parent) == ["target"]


def test_kill_half_way_leaves_nothing_that_looks_finished(tmp_path):
    target = tmp_path / "cache" / "target"
    may = tmp_path / "killed.go"
    killed = start_builder(target, "killed", may)
    wait_for(may.with_suffix(".began").exists, killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=300)
    assert not target.exists()
    assert visible(target.parent), "the killed process should have left its temporary folder"
    build(target, 0, make_file("whole"))
    assert target.read_text() == "whole"
    assert visible(target.parent) == ["target"]


def test_an_exception_leaves_nothing(tmp_path):
    def make(folder):
        (folder / "half").write_text("half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        build(tmp_path / "target", 0, make)
    assert visible(tmp_path) == []


def test_too_little_space_is_said_before_any_work(small_disk):
    def make(folder):
        raise AssertionError("the space should have been checked first")

    with pytest.raises(
        Unavailable, match=r"about 650 MB are needed.*PRUNING_ATLAS_CACHE"
    ) as raised:
        build(small_disk / "target", 650_000_000, make)
    assert str(small_disk) in str(raised.value)
    assert visible(small_disk) == []


def write_bytes(folder):
    (folder / "big").write_bytes(bytes(8_000_000))


def write_safetensors(folder):
    save_file({"big": torch.zeros(2_000_000)}, folder / "big")


def write_tokenizer(folder):
    words = {f"{number:->200}": number for number in range(40_000)}
    Tokenizer(WordLevel(words, unk_token="")).save(str(folder / "big"))


@pytest.mark.parametrize("write", [write_bytes, write_safetensors, write_tokenizer])
def test_disk_that_fills_up_half_way(small_disk, write):
    with pytest.raises(Unavailable, match="no space left"):
        build(small_disk / "target", 1_000_000, write)
    assert visible(small_disk) == []


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "cache").write_text("a file where the cache should be")
    with pytest.raises(Unavailable, match=r"cannot write in .*PRUNING_ATLAS_CACHE"):
        build(tmp_path / "cache" / "target", 0, make_file("never"))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc of Linux")
def test_folder_that_its_file_system_refuses():
    """Linux says of a new folder in /proc that its parent does not exist."""
    with pytest.raises(Unavailable, match=r"cannot write in /proc/atlas .*PRUNING_ATLAS_CACHE"):
        build(Path("/proc/atlas/target"), 0, make_file("never"))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EDQUOT])
def test_what_the_operating_system_refuses_is_explained(tmp_path, number):
    raises = pytest.raises(Unavailable, match="PRUNING_ATLAS_CACHE")
    with raises, disk_errors_explained(tmp_path, 1):
        raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to(path)])
def test_a_lock_that_cannot_be_one_is_named(tmp_path, make):
    make(tmp_path / ".target.lock")
    with pytest.raises(Unavailable, match=r"\.target\.lock\): remove what is in the way"):
        build(tmp_path / "target", 0, make_file("never"))


@pytest.mark.parametrize("make", [os.mkfifo, Path.touch, lambda path: path.symlink_to(path)])
def test_leftovers_that_are_no_folders_hold_nobody(tmp_path, make):
    make(tmp_path / ".target.partial-x")
    build(tmp_path / "target", 0, make_file("made"))
    assert (tmp_path / "target").read_text() == "made"


def test_a_link_to_nothing_is_replaced(tmp_path):
    (tmp_path / "target").symlink_to(tmp_path / "gone")
    build(tmp_path / "target", 0, make_file("made"))
    assert (tmp_path / "target").read_text() == "made"
    assert visible(tmp_path) == ["target"]


def test_other_errors_pass_unchanged(tmp_path):
    with pytest.raises(FileNotFoundError), disk_errors_explained(tmp_path, 1):
        (tmp_path / "missing").read_text()


def test_file_sha256(tmp_path):
    (tmp_path / "abc").write_text("abc")  # the example of FIPS 180
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sha256(tmp_path / "abc") == expected
