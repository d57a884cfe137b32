"""What a page weighs on the wire on a first visit, now and with many more papers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tools.site.atlas import Atlas
from tools.site.weight import LIMIT, Weight, heaviest, weigh

KB = 1000
PAPERS = 500
MOST = 6  # kinds that are weighed: pages of the others have fewer bytes
QUESTIONS = ("catalog.html?find=quantization", "leaderboard.html?compare=wanda,sparsegpt")


@pytest.fixture(scope="module")
def there(published: Path, served: Callable[[Path], Any]) -> Iterator[str]:
    with served(published) as address:
        yield address


@pytest.fixture(scope="module")
def weights(published: Path, there: str, chromium: Browser) -> dict[str, Weight]:
    addresses = [*list(heaviest(published).values())[:MOST], *QUESTIONS]
    return {address: weigh(chromium, there + address) for address in addresses}


@pytest.mark.browser
def test_no_kind_of_page_is_heavy_with_many_papers(weights: dict[str, Weight], real: Atlas) -> None:
    """Pages and data grow at most as fast as the catalog; scripts, styles and fonts do not."""
    more = PAPERS / len(real.papers) - 1
    assert more > 0
    grown = {address: one.whole + more * one.texts for address, one in weights.items()}
    assert {"catalog.html", "learn/index.html"} <= grown.keys()
    assert min(grown.values()) > 20 * KB
    assert {address: size for address, size in grown.items() if size > LIMIT} == {}


@pytest.mark.browser
@pytest.mark.parametrize("path", ["index.html", "choose.html", "learn/reading-order.html"])
def test_pages_of_the_real_site_are_quiet(visit: Callable[..., Any], there: str, path: str) -> None:
    seen = visit(home=there)
    seen.open(path)
    assert seen.complaints == []


def test_no_file_of_the_real_site_is_above_a_megabyte(published: Path) -> None:
    files = (path for path in published.rglob("*") if path.is_file() and path.suffix != ".map")
    large = [path.name for path in files if path.stat().st_size > 10**6]
    assert large == []
