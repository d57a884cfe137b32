"""`export.py`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.tools.conftest import Ended, invoke
from tools.catalog.entries.loader import PAPERS
from tools.catalog.exports.formats import EXPORTS
from tools.export import app


def export(*arguments: object) -> Ended:
    return invoke(app, *arguments)


def test_writes_all_files_reproducibly(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        done = export("--out", tmp_path / folder)
        assert done.code == 0, done.err
        assert done.out.split() == [str(tmp_path / folder / name) for name in EXPORTS]
    for name in EXPORTS:
        content = (tmp_path / "one" / name).read_bytes()
        assert content == (tmp_path / "two" / name).read_bytes()
        assert b"\r" not in content
        assert content.endswith(b"\n")
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == sorted(EXPORTS)


def test_writes_single_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = export("papers.bib")
    assert done.code == 0, done.err
    assert [path.name for path in (tmp_path / "build").iterdir()] == ["papers.bib"]


def test_invalid_entry_writes_nothing(tmp_path: Path) -> None:
    shutil.copytree(PAPERS, tmp_path / "papers")
    (tmp_path / "papers" / "wanda.yaml").write_text("title: Only this\n")
    done = export("--papers", tmp_path / "papers", "--out", tmp_path / "out")
    assert done.code == 1
    assert "wanda.yaml:1: the field authors is missing" in done.err
    assert "Nothing was written" in done.err
    assert not (tmp_path / "out").exists()


def test_folder_in_place_of_a_file_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "papers.json").mkdir()
    done = export("--out", tmp_path)
    assert done.code == 1
    assert f"{tmp_path / 'papers.json'}: is a folder" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["papers.json"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["papers.xml"], 2, "'papers.xml' must be one of papers.json"),
        (["--papers", "nowhere"], 2, "nowhere"),
        (["--out", "/dev/null/x"], 1, "Choose another --out"),
    ],
)
def test_rejects_unknown_files_and_unusable_folders(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = export(*arguments)
    assert done.code == code
    assert message in " ".join(done.err.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []
