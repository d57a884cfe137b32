"""What a page weighs on the wire, and how large the whole site's files are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

KB = 1000


@pytest.fixture(scope="module")
def there(published: Path, served: Callable[[Path], Any]) -> Iterator[str]:
    with served(published) as address:
        yield address


@pytest.mark.browser
@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("index.html", 250),
        ("catalog.html", 250),
        ("claims.html", 300),
        ("leaderboard.html", 300),
        ("choose.html", 300),
        ("timeline.html", 300),
        ("untried.html", 300),
    ],
)
def test_a_page_stays_light(visit: Callable[..., Any], there: str, path: str, most: int) -> None:
    seen = visit(home=there)
    seen.open(path)
    assert 20 * KB < seen.weight < most * KB
    assert seen.complaints == []


def test_no_file_of_the_real_site_is_above_a_megabyte(published: Path) -> None:
    large = [p.name for p in published.rglob("*") if p.is_file() and p.stat().st_size > 10**6]
    assert large == []
