"""What is not laid out as usual is told where, and mended."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.catalog.invented import Change, told
from tools.catalog.checks.layout import fix
from tools.catalog.documents.yaml_reader import read


def test_a_file_not_laid_out_as_usual_is_told_where(papers: Path, change: Change) -> None:
    change("brook", ("year: 2023\nstatus: preprint", "status: preprint\nyear: 2023"))
    assert told(papers) == [
        "brook.yaml:9: is not laid out as usual: wants 'year: 2023';"
        " run `python tools/check_catalog.py --fix`"
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("[invented]\n", "[invented]", "25: is not laid out as usual: wants an empty line;"),
        ("[invented]\n", "[invented]\n\n", "26: is not laid out as usual: wants the file to end"),
        ("\n\nids", "\nids", "12: is not laid out as usual: wants an empty line;"),
        ("# yaml", "\ufeff# yaml", "1: is not laid out as usual: wants '# yaml-language"),
        ("\n", "\r\n", None),
    ],
)
def test_ends_and_empty_lines_are_part_of_the_layout(
    papers: Path, old: str, new: str, problem: str | None
) -> None:
    path = papers / "brook.yaml"
    text = path.read_text(encoding="utf-8").replace(old, new)
    path.write_bytes(text.encode())
    found = told(papers)
    assert len(found) == bool(problem)
    assert not problem or found[0].startswith(f"brook.yaml:{problem}")


def test_only_the_layout_is_named_where_nothing_else_changes(change: Change) -> None:
    path = change("brook", ("year: 2023", "year:   2023"))
    assert fix(read(path), path) == ["layout"]
    assert fix(read(path), path) == []
