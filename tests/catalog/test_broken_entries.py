"""Broken entries with all their problems."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.catalog.invented import BROKEN, DATA
from tools.catalog.checks import check
from tools.catalog.entries.loader import read_catalog
from tools.check_catalog import as_text, summary
from tools.repository import REPOSITORY


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_reports_all_problems_of_broken_entries(path: Path) -> None:
    catalog = read_catalog(DATA / "atlas" / "catalog" / "papers", [path])
    problems = [*catalog.problems, *check(catalog, DATA / "atlas")]
    own = sorted(p for p in problems if REPOSITORY / p.file == path)
    expected = path.with_suffix(".txt").read_text(encoding="utf-8")
    assert "\n".join([*as_text(own), summary(1, own), ""]) == expected
