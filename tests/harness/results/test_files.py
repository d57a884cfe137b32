"""Atomic file writes and readable JSON."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from implementations.harness.errors import Unavailable
from implementations.harness.results.files import atomic_file, format_json, write_atomically


def test_formatted_json_keeps_its_value():
    value = {"a": [1, [2.5, "x"]], "b": {"c": []}, "d": [{"e": None}, {}], "f": {}}
    assert json.loads(format_json(value)) == value


def test_unwritable_folder_is_refused_and_nothing_is_left(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot write"):
        write_atomically(tmp_path / "file" / "under" / "it.json", "{}")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


FULL = """
import resource, signal, sys
from pathlib import Path
from implementations.harness.errors import Unavailable
from implementations.harness.results.files import write_atomically
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    write_atomically(Path(sys.argv[1]), "x" * 10_000)
except Unavailable as error:
    sys.exit(0 if "cannot write" in str(error) else 3)
"""


def test_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "record.json"
    path.write_text("old")
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], check=False)
    assert done.returncode == 0
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_written_file_has_ordinary_permissions(tmp_path):
    write_atomically(tmp_path / "a.json", "{}")
    (tmp_path / "b.json").write_text("{}")
    assert (tmp_path / "a.json").stat().st_mode == (tmp_path / "b.json").stat().st_mode


def test_text_is_written_unchanged_as_utf8(tmp_path):
    write_atomically(tmp_path / "new" / "a.txt", "größer\r\n大\n")
    assert (tmp_path / "new" / "a.txt").read_bytes() == "größer\r\n大\n".encode()


def test_file_does_not_appear_before_the_end_or_after_an_exception(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail() -> None:
        with atomic_file(path) as file:
            file.write(b"half")
            assert path.read_bytes() == b"old"
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail()
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"old"


def test_file_created_meanwhile_is_replaced_only_on_request(tmp_path):
    path = tmp_path / "a.bin"

    def write_while_another_process_does() -> None:
        with atomic_file(path, replace=False) as file:
            file.write(b"mine")
            path.write_bytes(b"another's")

    with pytest.raises(FileExistsError):
        write_while_another_process_does()
    assert path.read_bytes() == b"another's"
    assert list(tmp_path.iterdir()) == [path]
    with atomic_file(path) as file:
        file.write(b"mine")
    assert path.read_bytes() == b"mine"
    with atomic_file(tmp_path / "b.bin", replace=False) as file:
        file.write(b"new")
    assert (tmp_path / "b.bin").read_bytes() == b"new"
