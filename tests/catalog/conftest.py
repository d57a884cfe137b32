"""A copy of the invented catalog for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.catalog.invented import Change, changed, copy_atlas


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    """The folder of entries."""
    return copy_atlas(tmp_path / "atlas")


@pytest.fixture
def change(papers: Path) -> Change:
    """Replace texts in an entry; each must exist."""
    return lambda slug, *changes: changed(papers / f"{slug}.yaml", *changes)
