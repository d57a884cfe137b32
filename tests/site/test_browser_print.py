"""Printed pages: dark on white in both colour schemes, menus closed, nothing cut off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.site.visiting import until

PAPER, ON_ITS_SIDE = 700, 1030
"""Width of an A4 page between its margins, in pixels."""
WIDTHS = {
    "index.html": PAPER,
    "learn/index.html": PAPER,
    "learn/how-we-measure.html": PAPER,
    "learn/glossary.html": PAPER,
    "papers/sparsegpt.html": PAPER,
    "claims.html": PAPER,
    "leaderboard.html": ON_ITS_SIDE,
    "leaderboard.html?compare=wanda,flap,owl,slicegpt": ON_ITS_SIDE,
}
CUT = """[...document.querySelectorAll('.md-content *')].filter(e =>
  e instanceof HTMLElement && e.clientWidth > 1 && e.scrollWidth > e.clientWidth + 1
  && getComputedStyle(e).overflowX !== 'visible').map(e => `${e.tagName}.${e.className}`)"""
# Elements that overflow their cell would be printed over the next one or off the page.
SPILT = """[...document.querySelectorAll('.atlas-claims :is(td, th) > *')].filter(e =>
  e.checkVisibility() && e.getBoundingClientRect().right
  > e.parentElement.getBoundingClientRect().right + 1).map(e => e.outerHTML)"""


@pytest.mark.browser
@pytest.mark.parametrize(("path", "width"), WIDTHS.items())
def test_print_cuts_nothing_off(visit: Callable[..., Any], path: str, width: int) -> None:
    visitor = visit(scheme="dark")
    page = visitor.open(path)
    page.set_viewport_size({"width": width, "height": 1000})
    page.emulate_media(media="print")
    until(page, "getComputedStyle(document.querySelector('h1')).color === 'rgb(29, 40, 35)'")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(CUT) == []
    assert page.evaluate(SPILT) == []
    for gone in (".atlas-controls", ".atlas-menu", ".atlas-key input"):
        assert page.locator(gone).locator("visible=true").count() == 0, gone
    tables = page.locator("table.atlas-table").locator("visible=true")
    kinds = tables.evaluate_all("all => all.map(one => getComputedStyle(one).display)")
    assert set(kinds) <= {"table"}
    assert visitor.complaints == []
