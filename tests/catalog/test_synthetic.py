"""Synthetic papers."""

from __future__ import annotations

from pathlib import Path

from tests.catalog.invented import told
from tools.catalog.entries.loader import load_catalog
from tools.catalog.synthetic import papers as invented
from tools.catalog.synthetic import write_papers


def test_synthetic_papers_are_valid_and_reproducible(tmp_path: Path) -> None:
    folder = tmp_path / "catalog" / "papers"
    folder.mkdir(parents=True)
    write_papers(folder, 60, seed=3)
    assert [one for one in told(folder) if "hint" not in one] == []
    assert load_catalog(folder) == dict(sorted(invented(60, seed=3).items()))
    assert invented(5, seed=1) != invented(5, seed=2)
