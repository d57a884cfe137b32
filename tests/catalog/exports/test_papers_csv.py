"""The catalog as CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from tests.catalog.invented import paper
from tools.catalog.entries.loader import load_catalog
from tools.catalog.exports.papers_csv import cell, papers_csv
from tools.repository import implemented


def test_csv_has_one_row_per_paper_and_no_formula() -> None:
    authors = ["Ada Lovelace, the Countess", 'Charles "C" Babbage']
    made = paper(title="=HYPERLINK(1)", authors=authors)
    rows = list(csv.DictReader(io.StringIO(papers_csv({"x": made}, {"x"}))))
    (row,) = rows
    assert row["title"] == "'=HYPERLINK(1)"
    assert row["authors"] == 'Ada Lovelace, the Countess; Charles "C" Babbage'
    assert (row["arxiv"], row["year"], row["implemented"]) == ("2306.11695", "2024", "true")
    assert (row["granularity"], row["code"], row["code_official"]) == ("", "", "")
    assert row["bibkey"] == "thecountess2024x"


def test_csv_matches_the_entries() -> None:
    papers = load_catalog()
    rows = list(csv.DictReader(io.StringIO(papers_csv(papers, implemented()))))
    assert [row["slug"] for row in rows] == sorted(papers)
    for row in rows:
        paper = papers[row["slug"]]
        assert row["authors"].split("; ") == list(paper.authors or [""])
        assert (row["bibkey"] == "") is (row["year"] == "") is not paper.has_paper
        assert row["title"] == paper.title
        if paper.taxonomy:
            assert row["criterion"] == "; ".join(paper.taxonomy.criterion)
        assert row["read"] == (paper.sources.read or "")
        assert not [value for value in row.values() if value.startswith(("=", "+", "-", "@"))]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("=1+1", "'=1+1"),
        ("+a", "'+a"),
        ("-1", "-1"),
        ("@x", "'@x"),
        ("a=b", "a=b"),
        (("-a", "b"), "'-a; b"),
        (None, ""),
        (2024, "2024"),
    ],
)
def test_cells_are_never_formulas(value: Any, expected: str) -> None:
    assert cell(value) == expected
