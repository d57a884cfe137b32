"""All checks together."""

from __future__ import annotations

from pathlib import Path

from tests.catalog.invented import Change, messages
from tools.catalog.checks import check
from tools.catalog.documents.diagnostics import Level
from tools.catalog.entries.loader import read_catalog


def test_real_catalog_has_no_error() -> None:
    catalog = read_catalog()
    problems = [*catalog.problems, *check(catalog)]
    assert [str(p) for p in problems if p.level is Level.ERROR] == []
    assert len(catalog.entries) >= 36


def test_invented_catalog_has_no_problem(papers: Path) -> None:
    assert messages(papers) == []


def test_entry_with_errors_still_counts_as_entry(papers: Path, change: Change) -> None:
    """Only its own errors are reported, not the relations of other entries to it."""
    change("brook", ("kind: baseline", "kind: base"))
    catalog = read_catalog(papers)
    assert len(catalog.problems) == 1
    found = check(catalog, papers.parents[1])
    assert [p for p in found if "no entry" in p.message] == []
