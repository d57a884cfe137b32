"""All checks together: the committed catalog, the invented one, entries that are not right."""

from __future__ import annotations

from pathlib import Path

from tests.catalog.invented import Change, told
from tools.catalog.checks import check
from tools.catalog.documents.diagnostics import Level
from tools.catalog.entries.loader import read_catalog


def test_the_real_catalog_has_no_error() -> None:
    catalog = read_catalog()
    problems = [*catalog.problems, *check(catalog)]
    assert [str(p) for p in problems if p.level is Level.ERROR] == []
    assert len(catalog.entries) >= 36


def test_the_invented_catalog_has_no_problem(papers: Path) -> None:
    assert told(papers) == []


def test_a_minimal_entry_stays_below_25_lines(papers: Path) -> None:
    text = (papers / "brook.yaml").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 25


def test_an_entry_with_errors_is_still_an_entry(papers: Path, change: Change) -> None:
    """Its own errors are told, and not that others relate to nothing."""
    change("brook", ("kind: baseline", "kind: base"))
    catalog = read_catalog(papers)
    assert len(catalog.problems) == 1
    found = check(catalog, papers.parents[1])
    assert [p for p in found if "no entry" in p.message] == []
