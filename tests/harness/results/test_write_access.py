"""Output folders: write access checked before any work, locks between processes, cleaning up."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from implementations.harness.errors import BadInput, Unavailable
from implementations.harness.results import files
from implementations.harness.results.files import check_writable, locked, resolve
from implementations.harness.results.record import Record
from implementations.harness.results.store import (
    check_record,
    load_record,
    record_files,
    save_record,
)

Make = Callable[..., Record]
NAME = "smollm2-135m-s0.5-seed0"


def temporary_file(path: Path) -> Path:
    """Return the path of the temporary file that a killed process leaves."""
    return path.with_name(f".{path.name}.0a1b2c3d.tmp")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_check_creates_and_leaves_nothing(tmp_path):
    check_writable(tmp_path / "new" / "runs")
    check_writable(tmp_path)
    check_record(tmp_path / "runs", "tiny", "wanda")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("below", "name", "words"),
    [
        ("file", "it", "Not a directory"),
        ("file/runs", "it", "Not a directory"),
        ("x" * 256, "it", "name too long"),
        ("y/" * 2050, "it", "name too long"),
        ("runs", "x" * 256, "name too long"),
    ],
)
def test_check_refuses_unwritable_paths(below, name, words, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match=words) as refusal:
        check_writable(tmp_path / below, name)
    assert len(str(refusal.value)) < 500
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("text", ["runs\0", "runs\udcff", "runs/\ud800"])
def test_resolve_refuses_invalid_path_and_shows_it_escaped(text):
    with pytest.raises(BadInput, match="cannot write to 'runs") as refusal:
        resolve(text)
    assert str(refusal.value).isprintable()


def test_lock_is_exclusive_and_times_out(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PATIENCE", 0.1)
    with locked(tmp_path / "it"):
        with (
            pytest.raises(Unavailable, match=r"another process is writing .*it"),
            locked(tmp_path / "it"),
        ):
            pytest.fail("two at once")
        with locked(tmp_path / "other"):
            pass
        assert names(tmp_path) == [".it.lock"]
    with locked(tmp_path / "it"):
        pass
    assert names(tmp_path) == []


def test_concurrent_records_of_one_request_share_one_file(made_up: Make, tmp_path):
    records = [made_up(sample=str(number)) for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        (path,) = set(pool.map(lambda record: save_record(record, tmp_path), records))
    assert load_record(path) in records
    assert names(path.parent) == [path.name]


def test_saving_a_record_removes_leftovers_of_killed_processes(made_up: Make, tmp_path):
    path = save_record(made_up(), tmp_path)
    (path.parent / f".{NAME}.json.lock").write_text("")
    temporary_file(path).write_text("{")
    other = temporary_file(path.with_name(f"{NAME}-wider.json"))
    other.write_text("{")
    save_record(made_up(), tmp_path)
    assert names(path.parent) == sorted([other.name, path.name])


def damaged(path: Path) -> None:
    path.write_text("{")


def folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("create", [damaged, folder])
def test_record_does_not_replace_another_file_of_its_name(create, made_up: Make, tmp_path):
    path = tmp_path / "smol" / "wanda" / f"{NAME}.json"
    path.parent.mkdir(parents=True)
    create(path)
    written = save_record(made_up(), tmp_path)
    assert written.name == f"{NAME}-{made_up().key[:8]}.json"
    assert load_record(written) == made_up()
    assert os.path.lexists(path)


def test_hidden_folders_below_the_runs_are_ignored(made_up: Make, tmp_path):
    path = save_record(made_up(), tmp_path / "runs")
    for name in (".ipynb_checkpoints", ".out.partial-12345678"):
        (tmp_path / "runs" / name).mkdir()
        (tmp_path / "runs" / name / "config.json").write_text("{}")
    assert list(record_files(tmp_path / "runs")) == [path]
    hidden = save_record(made_up(), tmp_path / ".runs")
    assert list(record_files(tmp_path / ".runs")) == [hidden]
