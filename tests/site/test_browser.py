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
CONTRAST = """element => {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map(c => c / 255).map(
      c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  let behind = element;
  while (rgba(getComputedStyle(behind).backgroundColor)[3] < 255) behind = behind.parentElement;
  const style = getComputedStyle(element);
  const text = element instanceof SVGElement ? style.fill : style.color;
  const pair = [luminance(rgba(text)), luminance(rgba(getComputedStyle(behind).backgroundColor))];
  return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
}"""


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


def test_the_best_methods_link_to_their_pages(visit: Callable[..., Any]) -> None:
    page = visit().open("index.html")
    page.locator(".atlas-panels a[href$='shortgpt.html']").first.click()
    page.wait_for_url("**/papers/shortgpt.html")
    assert "ShortGPT" in page.locator("h1").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast_in_both_schemes(visit: Callable[..., Any], scheme: str) -> None:
    visitor = visit(scheme=scheme)
    for path, selectors in {
        "leaderboard.html?share=all": (
            ".md-content h1",
            ".md-content p",
            ".atlas-byline",
            ".atlas-board td.number",
            ".atlas-board tr.collapsed td.number",
            ".atlas-board .spread",
            ".atlas-board a",
            ".atlas-tag--warn",
            ".atlas-key li",
            ".atlas-chart--wide text",
            ".md-tabs__link",
            ".md-tabs__item--active .md-tabs__link",
            ".md-copyright__highlight",
        ),
        "papers/sparsegpt.html": (".highlight code", ".atlas-parameters code"),
    }.items():
        page = visitor.open(path)
        for selector in selectors:
            for element in page.locator(selector).all()[:12]:
                assert element.evaluate(CONTRAST) >= 4.5, f"{path}: {selector} in {scheme}"


def test_the_scheme_follows_the_system_and_can_be_switched(visit: Callable[..., Any]) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light = visit(scheme="light").open("index.html").evaluate(background)
    page = visit(scheme="dark").open("index.html")
    dark = page.evaluate(background)
    assert light != dark
    page.get_by_title("Switch to light colours").click()
    until(page, f"{background} === '{light}'")


def test_pages_can_be_read_without_javascript(visit: Callable[..., Any]) -> None:
    page = visit(java_script_enabled=False).open("leaderboard.html")
    assert page.locator("table.atlas-board").is_visible()
    assert page.locator(".atlas-chart--wide svg.marks").is_visible()


def test_pages_opened_from_disk_can_be_read(visit: Callable[..., Any], site: Path) -> None:
    page = visit(home=f"{site.as_uri()}/").page
    page.goto(f"{site.as_uri()}/index.html")
    page.get_by_role("link", name="Leaderboard").first.click()
    page.wait_for_url("**/leaderboard.html")
    assert page.locator("table.atlas-board").is_visible()
