"""Bytes transferred on a first visit, with the current catalog and with many more papers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.site.weight import LIMIT, Weight, heaviest, weigh
from tools.site.atlas import Atlas

KB = 1000
PAPERS = 500
MOST = 6  # number of kinds that are weighed, largest first
QUESTIONS = ("catalog.html?find=quantization", "leaderboard.html?compare=wanda,sparsegpt")


@pytest.fixture(scope="module")
def home(published: Path, served: Callable[[Path], Any]) -> Iterator[str]:
    with served(published) as address:
        yield address


@pytest.fixture(scope="module")
def weights(published: Path, home: str, chromium: Browser) -> dict[str, Weight]:
    addresses = [*list(heaviest(published).values())[:MOST], *QUESTIONS]
    return {address: weigh(chromium, home + address) for address in addresses}


@pytest.mark.browser
def test_pages_stay_below_the_limit_with_many_papers(
    weights: dict[str, Weight], real: Atlas
) -> None:
    """Assumes that pages and data grow with the catalog, and scripts, styles and fonts do not."""
    more = PAPERS / len(real.papers) - 1
    assert more > 0
    grown = {address: one.whole + more * one.texts for address, one in weights.items()}
    assert {"catalog.html", "learn/index.html"} <= grown.keys()
    assert min(grown.values()) > 20 * KB
    assert {address: size for address, size in grown.items() if size > LIMIT} == {}
