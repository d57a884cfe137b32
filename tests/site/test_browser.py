"""The site in Chromium: on a phone and a desktop, in light and dark colours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from implementations.harness.results.record import NO_SPEED_UP
from tests.site.visiting import until

pytestmark = pytest.mark.browser


# Contrast of an element's text with the first opaque background behind it, as WCAG 2 defines it.
def test_leaderboard_shows_dense_first_and_the_usual_shares(visit: Callable[..., Any]) -> None:
    page = visit().open("leaderboard.html")
    board = page.locator("table.atlas-board")
    assert board.is_visible()
    assert board.locator("tbody tr").first.inner_text().split()[:2] == ["dense", "nothing"]
    assert [text.strip() for text in board.locator("tr.family").all_inner_texts()] == [
        "20 % removed, structured, one-shot",
        f"50 % removed, unstructured, one-shot {NO_SPEED_UP}",
    ]
    page = visit().open("leaderboard.html?share=all")
    assert page.locator("table.atlas-board").get_by_text("collapsed", exact=True).count() == 2


@pytest.mark.parametrize(
    ("width", "shown", "hidden"), [(1280, "wide", "narrow"), (360, "narrow", "wide")]
)
def test_the_chart_fits_the_page(
    visit: Callable[..., Any], width: int, shown: str, hidden: str
) -> None:
    page = visit(width).open("leaderboard.html")
    chart = page.locator(f".atlas-chart--{shown} svg.marks")
    assert chart.is_visible()
    assert not page.locator(f".atlas-chart--{hidden}").is_visible()
    box = chart.bounding_box()
    assert box is not None
    scale = box["width"] / float(chart.get_attribute("width") or 1)
    assert scale * 11 >= 10, "the smallest letters of the chart are below ten pixels"


def test_the_scheme_follows_the_system_and_can_be_switched(visit: Callable[..., Any]) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light = visit(scheme="light").open("index.html").evaluate(background)
    page = visit(scheme="dark").open("index.html")
    dark = page.evaluate(background)
    assert light != dark
    page.get_by_title("Switch to light colours").click()
    until(page, f"{background} === '{light}'")


def test_pages_opened_from_disk_can_be_read(visit: Callable[..., Any], site: Path) -> None:
    page = visit(home=f"{site.as_uri()}/").page
    page.goto(f"{site.as_uri()}/index.html")
    page.get_by_role("link", name="Leaderboard").first.click()
    page.wait_for_url("**/leaderboard.html")
    assert page.locator("table.atlas-board").is_visible()
