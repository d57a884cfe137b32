"""A small invented catalog, and ways to change it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

DATA = Path(__file__).parent / "data"


@pytest.fixture
def atlas(tmp_path: Path) -> Path:
    """A copy of the invented repository: two entries, one with a method folder."""
    return Path(shutil.copytree(DATA / "atlas", tmp_path / "atlas"))


@pytest.fixture
def papers(atlas: Path) -> Path:
    """The folder of its entries."""
    return atlas / "catalog" / "papers"


@pytest.fixture
def change(papers: Path) -> Callable[..., Path]:
    """Replace texts in an entry, each of which has to be there."""

    def replace(slug: str, *changes: tuple[str, str]) -> Path:
        path = papers / f"{slug}.yaml"
        text = path.read_text(encoding="utf-8")
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new, 1)
        path.write_text(text, encoding="utf-8")
        return path

    return replace
