"""The catalog as files: stable, whole, all or none."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.catalog.entries.loader import PAPERS
from tools.catalog.exports.formats import (
    EXPORTS,
)

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "export.py"


def export(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_all_files_are_written_and_twice_the_same(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        done = export("--out", tmp_path / folder)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [str(tmp_path / folder / name) for name in EXPORTS]
    for name in EXPORTS:
        content = (tmp_path / "one" / name).read_bytes()
        assert content == (tmp_path / "two" / name).read_bytes()
        assert b"\r" not in content
        assert content.endswith(b"\n")
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == sorted(EXPORTS)


def test_one_file_can_be_asked_for(tmp_path: Path) -> None:
    done = export("papers.bib", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "build").iterdir()] == ["papers.bib"]


def test_a_broken_entry_is_told_and_nothing_written(tmp_path: Path) -> None:
    shutil.copytree(PAPERS, tmp_path / "papers")
    (tmp_path / "papers" / "wanda.yaml").write_text("title: Only this\n")
    done = export("--papers", tmp_path / "papers", "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "wanda.yaml:1: the field authors is missing" in done.stderr
    assert "Nothing was written" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["papers.xml"], 2, "'papers.xml' is none of papers.json"),
        (["--papers", "nowhere"], 2, "nowhere"),
        (["--out", "/dev/null/x"], 1, "choose another --out"),
    ],
)
def test_nonsense_is_refused_with_a_message(
    arguments: list[str], code: int, message: str, tmp_path: Path
) -> None:
    done = export(*arguments, cwd=tmp_path)
    assert done.returncode == code
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []
