"""The committed catalog, and the seed list of the project."""

from __future__ import annotations

import pytest

from tools.catalog.entries.loader import load_catalog
from tools.catalog.schema.paper import Paper
from tools.lists.comparison import Comparison, compare
from tools.lists.parser import read_list
from tools.repository import REPOSITORY

SEED = REPOSITORY / "tests" / "data" / "seed-list.md"


@pytest.fixture(scope="module")
def papers() -> dict[str, Paper]:
    return dict(load_catalog())


@pytest.fixture(scope="module")
def seed(papers: dict[str, Paper]) -> list[Comparison]:
    return compare(read_list(SEED.read_text(encoding="utf-8")), papers)
