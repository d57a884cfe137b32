"""Files and folders in the cache are complete or absent."""

import errno
import os
import threading

import pytest
from safetensors import SafetensorError

from implementations.harness.download.embedded import build
from implementations.harness.errors import Unavailable
from implementations.harness.results.files import file_sha256


def visible(folder):
    """Return the names in `folder` without the lock files."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def make_file(content):
    def make(folder):
        (folder / "file").write_text(content)
        return folder / "file"

    return make


def test_builds_once_and_creates_missing_folders(tmp_path):
    target = tmp_path / "deep" / "cache" / "target"
    build(target, make_file("first"))
    build(target, make_file("second"))
    assert target.read_text() == "first"
    assert visible(target.parent) == ["target"]


def test_second_process_waits_for_the_first(tmp_path):
    target, began, finish = tmp_path / "target", threading.Event(), threading.Event()

    def slow(folder):
        began.set()
        assert finish.wait(60)
        return make_file("first")(folder)

    first = threading.Thread(target=build, args=(target, slow))
    second = threading.Thread(target=build, args=(target, make_file("second")))
    first.start()
    assert began.wait(60)
    second.start()
    assert not target.exists()
    finish.set()
    first.join(60)
    second.join(60)
    assert target.read_text() == "first"


def test_removes_leftovers_of_a_killed_process(tmp_path):
    (tmp_path / ".target.partial-killed").mkdir()
    (tmp_path / ".target.partial-killed" / "half").write_text("half")
    build(tmp_path / "target", make_file("whole"))
    assert visible(tmp_path) == ["target"]


def test_exception_leaves_nothing_behind(tmp_path):
    def make(folder):
        (folder / "half").write_text("half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        build(tmp_path / "target", make)
    assert visible(tmp_path) == []


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "No space left"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
    ],
)
def test_disk_errors_say_what_to_do(tmp_path, error, message):
    def make(folder):
        raise error

    with pytest.raises(Unavailable, match=rf"{message}.*PRUNING_ATLAS_CACHE"):
        build(tmp_path / "target", make)


def test_refuses_cache_that_is_a_file(tmp_path):
    (tmp_path / "cache").touch()
    with pytest.raises(Unavailable, match=r"could not be written.*PRUNING_ATLAS_CACHE"):
        build(tmp_path / "cache" / "target", make_file("never"))


def test_file_sha256(tmp_path):
    (tmp_path / "abc").write_text("abc")  # the example of FIPS 180
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sha256(tmp_path / "abc") == expected
