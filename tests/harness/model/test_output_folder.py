"""Output folders are checked before any work and written completely by one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from implementations.harness.errors import BadInput, Unavailable
from implementations.harness.model.saving import atomic_folder, check_output_folder
from implementations.harness.results import files


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def fill(folder: Path) -> None:
    with atomic_folder(folder) as partial:
        (partial / "it").write_text("")


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        ("file", BadInput, "is a file"),
        ("full", BadInput, "is not empty"),
        ("to-full", BadInput, "full is not empty"),
        ("loop", Unavailable, "Too many levels"),
        ("file/out", Unavailable, "Not a directory"),
        ("/proc/out", Unavailable, "cannot write to /proc"),
    ],
)
def test_refuses_invalid_folder_without_a_trace(target, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "it").write_text("")
    (tmp_path / "to-full").symlink_to("full")
    (tmp_path / "loop").symlink_to("loop")
    before = names(tmp_path)
    with pytest.raises(error, match=message):
        check_output_folder(target)
    assert names(tmp_path) == before


@pytest.mark.parametrize("target", ["new", "empty", "to-new", "a/b/new"])
def test_checks_valid_folder_without_a_trace_and_fills_it(target, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "to-new").symlink_to("deep/new")
    before = names(tmp_path)
    check_output_folder(tmp_path / target)
    assert names(tmp_path) == before
    fill((tmp_path / target).resolve())
    assert (tmp_path / target / "it").exists()


def test_next_save_removes_partial_folder_of_a_killed_process(tmp_path):
    for name in (".out.partial-killed", ".out2.partial-living"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text("half")
    fill(tmp_path / "out")
    assert not (tmp_path / ".out.partial-killed").exists()
    assert (tmp_path / ".out2.partial-living").exists()


def test_refuses_second_process_while_one_is_saving(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PATIENCE", 0.1)
    with atomic_folder(tmp_path / "out") as partial:
        (partial / "half").write_text("")
        with pytest.raises(Unavailable, match=r"another process is writing .*out"):
            fill(tmp_path / "out")
    assert names(tmp_path) == ["out", "out/half"]


def save_too_late(folder: Path) -> None:
    with atomic_folder(folder):
        folder.mkdir()
        (folder / "precious").write_text("")


def test_keeps_folder_that_was_filled_in_the_meantime(tmp_path):
    with pytest.raises(Unavailable, match="could not be written: Directory not empty"):
        save_too_late(tmp_path / "out")
    assert names(tmp_path) == ["out", "out/precious"]
