"""The catalog as files: stable, whole, safe to open, written all or none."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools.catalog.entries import PAPERS, load_catalog
from tools.catalog.exports import EXPORTS, SCHEMA, cell, implemented, papers_csv, papers_json, write
from tools.catalog.paper import Paper

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "export.py"
ENTRY: dict[str, Any] = {
    "title": "=HYPERLINK(1)",
    "authors": ["Ada Lovelace, the Countess", 'Charles "C" Babbage'],
    "kind": "survey",
    "summary": "Surveys: one; two.",
    "year": 2024,
    "status": "preprint",
    "added": "2026-11-25",
    "ids": {"arxiv": "2306.11695"},
    "sources": {"checked": "2026-11-25", "from": ["paper text"]},
}


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


def test_json_holds_every_field_and_what_is_derived() -> None:
    papers = load_catalog()
    content = json.loads(papers_json(papers, implemented()))
    assert content["$schema"] == SCHEMA
    records = content["papers"]
    assert [record["slug"] for record in records] == sorted(papers)
    derived = ("slug", "group", "page", "addresses", "bibtex", "implemented")
    for record in records:
        own = {name: value for name, value in record.items() if name not in derived}
        assert Paper.model_validate(own) == papers[record["slug"]]
        assert record["bibtex"].startswith("@")
        assert record["page"] in {address["url"] for address in record["addresses"]}
    assert {r["slug"] for r in records if r["implemented"]} == {
        slug for slug, paper in papers.items() if paper.fidelity
    }


def test_csv_has_a_row_a_paper_and_no_formula() -> None:
    rows = list(csv.DictReader(io.StringIO(papers_csv({"x": Paper.model_validate(ENTRY)}, {"x"}))))
    (row,) = rows
    assert row["title"] == "'=HYPERLINK(1)"
    assert row["authors"] == 'Ada Lovelace, the Countess; Charles "C" Babbage'
    assert (row["arxiv"], row["year"], row["implemented"]) == ("2306.11695", "2024", "true")
    assert (row["granularity"], row["code"], row["code_official"]) == ("", "", "")
    assert row["bibkey"] == "thecountess2024x"


def test_csv_of_the_catalog_says_the_same_as_the_entries() -> None:
    papers = load_catalog()
    rows = list(csv.DictReader(io.StringIO(papers_csv(papers, implemented()))))
    assert [row["slug"] for row in rows] == sorted(papers)
    for row in rows:
        paper = papers[row["slug"]]
        assert row["authors"].split("; ") == list(paper.authors)
        assert row["title"] == paper.title
        if paper.taxonomy:
            assert row["criterion"].split("; ") == list(paper.taxonomy.criterion)
        assert not [value for value in row.values() if value.startswith(("=", "+", "-", "@"))]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@x", "'@x"),
        ("a=b", "a=b"),
        (("-a", "b"), "'-a; b"),
        (None, ""),
        (2024, "2024"),
    ],
)
def test_no_cell_is_a_formula(value: Any, expected: str) -> None:
    assert cell(value) == expected


def test_a_file_that_cannot_be_written_leaves_none_behind(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        write({"a.txt": "a", "no/such/b.txt": "b"}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_files_are_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    assert write({"a.txt": "new"}, tmp_path) == [tmp_path / "a.txt"]
    assert (tmp_path / "a.txt").read_text() == "new"


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
