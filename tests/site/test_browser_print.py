"""Printed pages: dark on white whatever the screen is, menus closed, nothing cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.site.visiting import until

PAPER = 700
"""Pixels across a page of A4 between its margins."""
CUT = """[...document.querySelectorAll('.md-content *')].filter(e =>
  e instanceof HTMLElement && e.clientWidth > 1 && e.scrollWidth > e.clientWidth + 1
  && getComputedStyle(e).overflowX !== 'visible').map(e => `${e.tagName}.${e.className}`)"""


@pytest.mark.browser
def test_nothing_is_cut_on_paper(visit: Callable[..., Any]) -> None:
    seen = visit(scheme="dark")
    for path in ("index", "learn", "measure", "timeline", "taxonomy", "papers/sparsegpt"):
        page = seen.open(f"{path}.html")
        page.set_viewport_size({"width": PAPER, "height": 1000})
        page.emulate_media(media="print")
        until(page, "getComputedStyle(document.querySelector('h1')).color === 'rgb(29, 40, 35)'")
        assert page.evaluate("document.documentElement.scrollWidth") == PAPER, path
        assert page.evaluate(CUT) == [], path
        assert not page.locator(".atlas-section").first.is_visible()
        page.emulate_media(media="screen")
    page = seen.open("catalog.html")
    page.evaluate("document.querySelectorAll('form details').forEach(one => { one.open = true; })")
    page.emulate_media(media="print")
    assert page.locator("form details[open] > :not(summary):visible").count() == 0
    assert seen.complaints == []
