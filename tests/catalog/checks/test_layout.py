"""Checking and fixing the layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.catalog.invented import Change, messages
from tools.catalog.checks.layout import fix
from tools.catalog.documents.yaml_reader import read


def test_reports_first_line_with_wrong_layout(papers: Path, change: Change) -> None:
    change("brook", ("year: 2023\nstatus: preprint", "status: preprint\nyear: 2023"))
    assert messages(papers) == [
        "brook.yaml:9: does not have the canonical layout: expected 'year: 2023';"
        " run `python tools/check_catalog.py --fix`"
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "[invented]\n",
            "[invented]",
            "25: does not have the canonical layout: expected an empty line;",
        ),
        (
            "[invented]\n",
            "[invented]\n\n",
            "26: does not have the canonical layout: expected the end of the file",
        ),
        ("\n\nids", "\nids", "12: does not have the canonical layout: expected an empty line;"),
        (
            "# yaml",
            "\ufeff# yaml",
            "1: does not have the canonical layout: expected '# yaml-language",
        ),
        ("\n", "\r\n", None),
    ],
)
def test_layout_includes_blank_lines_and_file_end(
    papers: Path, old: str, new: str, problem: str | None
) -> None:
    path = papers / "brook.yaml"
    text = path.read_text(encoding="utf-8").replace(old, new)
    path.write_bytes(text.encode())
    found = messages(papers)
    assert len(found) == bool(problem)
    assert not problem or found[0].startswith(f"brook.yaml:{problem}")


def test_fix_reports_layout_changes(change: Change) -> None:
    path = change("brook", ("year: 2023", "year:   2023"))
    assert fix(read(path), path) is True
    assert fix(read(path), path) is False
