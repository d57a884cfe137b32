"""The small invented catalog, for every test a copy of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.catalog.invented import Change, changed, copy_atlas


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    """The folder of its entries."""
    return copy_atlas(tmp_path / "atlas")


@pytest.fixture
def change(papers: Path) -> Change:
    """Replace texts in an entry, each of which has to be there."""
    return lambda slug, *changes: changed(papers / f"{slug}.yaml", *changes)
