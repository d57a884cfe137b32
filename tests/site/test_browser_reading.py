"""The pages that order the papers, in a real Chromium: one leads to the next, on a phone too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


def test_from_home_to_what_the_others_build_on(visit: Callable[..., Any]) -> None:
    seen = visit()
    page = seen.open("index.html")
    page.get_by_role("link", name="Start reading").click()
    page.wait_for_url("**/read.html")
    years = [int(one) for one in page.locator(".atlas-steps__year").all_inner_texts()]
    assert years == sorted(years)
    page.locator(".atlas-steps--ground").get_by_role("link", name="Wanda", exact=True).click()
    page.wait_for_url("**/papers/wanda.html")
    assert seen.complaints == []


def test_a_number_of_what_was_tried_shows_as_many_papers(visit: Callable[..., Any]) -> None:
    page = visit().open("untried.html")
    cell = page.locator(".atlas-tried td.is-tried-4 a").first
    count = cell.inner_text()
    cell.click()
    page.wait_for_url("**/catalog.html?granularity=*&criterion=*&recovery=*")
    expect(page.locator("#atlas-shown")).to_have_text(count)


@pytest.mark.parametrize("width", [360, 1440])
def test_empty_cells_have_the_size_of_the_others(visit: Callable[..., Any], width: int) -> None:
    page = visit(width).open("untried.html")
    full = page.locator(".atlas-tried td.is-tried-1").first.bounding_box()
    empty = page.locator(".atlas-tried tbody td:not([class])").first.bounding_box()
    assert full is not None
    assert empty is not None
    for side in ("width", "height"):
        assert full[side] == pytest.approx(empty[side], abs=1)
    assert min(empty["width"], empty["height"]) >= 20


@pytest.mark.parametrize("width", [360, 1440])
def test_a_paper_takes_one_line_of_the_timeline(visit: Callable[..., Any], width: int) -> None:
    page = visit(width, java_script_enabled=False).open("timeline.html")
    lines = page.locator(".atlas-days li")
    assert lines.count() > 150
    for line in lines.all()[::20]:
        box = line.bounding_box()
        assert box is not None
        assert box["height"] < 36
        assert box["x"] + box["width"] <= width


def test_one_drawing_of_the_words_is_seen(visit: Callable[..., Any]) -> None:
    for width, shown, hidden in ((1440, "wide", "narrow"), (360, "narrow", "wide")):
        page = visit(width).open("timeline.html")
        assert page.locator(f".atlas-chart--{shown} svg circle").first.is_visible()
        assert not page.locator(f".atlas-chart--{hidden}").is_visible()
