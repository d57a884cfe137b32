"""The page of a paper in Chromium: code, copy buttons, links and definitions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.site.conftest import UNWRITTEN
from tests.site.visiting import copied, ready, until

pytestmark = pytest.mark.browser

CLIPBOARD = ["clipboard-read", "clipboard-write"]


def test_bibtex_code_and_differences_of_flap_are_three_clicks_from_home(
    visit: Callable[..., Any],
) -> None:
    visitor = visit(permissions=CLIPBOARD)
    page = visitor.open("index.html")
    page.get_by_role("link", name="Find a paper").click()
    page.wait_for_url("**/catalog.html")
    ready(page)
    page.get_by_label("Search", exact=True).last.fill("flap")
    page.get_by_role("link", name="FLAP", exact=True).first.click()
    page.wait_for_url("**/papers/flap.html")
    official = page.get_by_role("link", name="official code")
    assert official.get_attribute("href") == "https://github.com/CASIA-IVA-Lab/FLAP"
    assert page.get_by_role("heading", name="Differences from the paper").is_visible()
    assert page.locator("h2:has-text('Differences') ~ ol li").count() >= 3
    bibtex = copied(page, page.locator("h2#cite + .highlight"))
    assert bibtex.startswith("@")
    page.evaluate("navigator.clipboard.writeText('')")
    page.get_by_role("button", name="Copy BibTeX").click()
    until(page, f"navigator.clipboard.readText().then(text => text === {json.dumps(bibtex)})")
    assert "Fluctuation-Based" in bibtex.replace("{", "").replace("}", "")
    assert visitor.complaints == []


def test_the_command_and_the_code_can_be_copied(visit: Callable[..., Any]) -> None:
    page = visit(permissions=CLIPBOARD).open("papers/sparsegpt.html")
    assert "class SparseGPT(WeightMethod)" in copied(
        page, page.locator(".atlas-beside__code .highlight")
    )
    command = copied(page, page.locator("h2#run-it + .highlight"))
    assert command.splitlines()[0] == "atlas run sparsegpt --sparsity 0.5"
    command = copied(page, page.locator(".atlas-glance .highlight"))
    assert command == "atlas run sparsegpt --sparsity 0.5 --seed 0"


def test_the_code_scrolls_by_keyboard_and_its_imports_unfold(visit: Callable[..., Any]) -> None:
    page = visit(1440, permissions=CLIPBOARD).open("papers/flap.html")
    pane = page.get_by_role("region", name="flap.py")
    pane.focus()
    page.keyboard.press("PageDown")
    until(page, "document.querySelector('.atlas-pane').scrollTop > 100")
    line = pane.get_by_text("from implementations.harness")
    assert not line.is_visible()
    assert "from implementations.harness" in copied(page, pane.locator(".highlight"))
    fold = page.get_by_label("lines of imports")
    fold.press("Space")
    assert line.is_visible()
    fold.press("Space")
    number = line.evaluate("line => line.closest('[id]').id")
    page.goto(page.url + "#" + number)
    assert line.is_visible()
    # No menu contains a paper.
    assert page.get_by_role("navigation", name="Breadcrumbs").inner_text() == "Catalog"


@pytest.mark.parametrize("width", [1440, 390])
def test_controls_on_a_paper_are_tall_enough(visit: Callable[..., Any], width: int) -> None:
    page = visit(width).open("papers/wanda.html")
    small = """() => [...document.querySelectorAll('article :is(a, button, label)')].filter(one => {
      const {width, height} = one.getBoundingClientRect();
      return width && (width < 24 || height < 24) && getComputedStyle(one).display !== 'inline';
    }).map(one => one.outerHTML)"""
    assert page.evaluate(small) == []
    inline = ":is(.atlas-links, .atlas-related, .atlas-trail) a"
    assert page.locator(inline).evaluate_all(
        "all => all.every(one => one.getBoundingClientRect().height >= 24)"
    )


def test_code_is_beside_the_formulas_on_wide_pages(
    visit: Callable[..., Any],
) -> None:
    for width, beside in ((1440, True), (768, False)):
        page = visit(width).open("papers/sparsegpt.html")
        text = page.locator(".atlas-beside__text").bounding_box()
        code = page.locator(".atlas-beside__code").bounding_box()
        assert text is not None
        assert code is not None
        assert (code["x"] >= text["x"] + text["width"]) == beside


@pytest.mark.parametrize("width", [1440, 390])
def test_pages_of_papers_have_the_same_width(visit: Callable[..., Any], width: int) -> None:
    visitor = visit(width)
    places = []
    for slug in ("flap", UNWRITTEN, "zhu2024survey", "magnitude"):
        box = visitor.open(f"papers/{slug}.html").locator(".md-content__inner").bounding_box()
        assert box is not None
        places.append((box["x"], box["width"]))
    assert len(set(places)) == 1


@pytest.mark.parametrize("slug", ["wanda", "slimgpt", "llmpruner"])
def test_the_bars_of_a_norm_are_equally_high(visit: Callable[..., Any], slug: str) -> None:
    page = visit().open(f"papers/{slug}.html")
    heights = page.locator("math").evaluate_all(
        """all => all.map(formula => [...formula.querySelectorAll('mo[stretchy=false]')]
          .filter(sign => '|‖'.includes(sign.textContent))
          .map(sign => Math.round(sign.getBoundingClientRect().height)))
          .filter(heights => heights.length)"""
    )
    assert heights
    for formula in heights:
        assert len(set(formula)) == 1, formula


@pytest.mark.parametrize("width", [1440, 390])
def test_rows_and_lines_link_to_each_other(visit: Callable[..., Any], width: int) -> None:
    visitor = visit(width)
    page = visitor.open("papers/flap.html")
    row = page.get_by_role(
        "link", name="standardise(attention).view(block.attention.kv_heads, width).mean(dim=1)"
    ).first
    row.click()
    line = page.locator("[id^=line-]:target")
    assert "groups = standardise(attention)" in line.inner_text()
    inside = """element => {
      const box = element.getBoundingClientRect();
      const frame = element.closest('.atlas-pane').getBoundingClientRect();
      return box.top >= Math.max(frame.top, 0) && box.bottom <= Math.min(frame.bottom, innerHeight);
    }"""
    assert line.evaluate(inside)
    if width == 1440:
        top = row.evaluate("element => element.getBoundingClientRect().top")
        assert 0 < top < 800, "the row has left the screen"
    line.get_by_role("link").press("Enter")
    assert page.locator("[id^=row-]:target").inner_text() == row.inner_text()
    assert visitor.complaints == []


def test_keyboard_focus_shows_the_definition_of_a_word(visit: Callable[..., Any]) -> None:
    page = visit().open("papers/wanda.html")
    word = page.get_by_role("link", name="weight-activation")
    shown = "element => getComputedStyle(element, '::after').content"
    assert word.evaluate(shown) == "none"
    word.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    assert "magnitude of the weights" in word.evaluate(shown)
    word.press("Enter")
    page.wait_for_url("**/learn/glossary.html#criterion-weight-activation")


def test_a_paper_without_code_here_says_so(visit: Callable[..., Any]) -> None:
    page = visit().open(f"papers/{UNWRITTEN}.html")
    assert page.get_by_text("not implemented here yet").is_visible()
    assert page.locator("h2#measurements").count() == 0
    assert page.locator("h2#cite").is_visible()


def test_pages_of_papers_can_be_read_without_javascript(visit: Callable[..., Any]) -> None:
    page = visit(java_script_enabled=False).open("papers/flap.html")
    for heading in ("How it works", "The code", "Parameters", "Measurements", "Cite", "Related"):
        assert page.get_by_role("heading", name=re.compile(f"^{heading}")).first.is_visible()


def test_names_of_related_papers_are_large_enough_to_read_and_tap(
    visit: Callable[..., Any],
) -> None:
    page = visit(1440).open("papers/wanda.html")
    sizes = page.locator(".atlas-node").evaluate_all("""all => all.map(one => {
      const place = name => one.querySelector(name).getBoundingClientRect();
      const [box, text] = [place('rect'), place('text')];
      return {name: one.textContent, text: text.height, box: Math.min(box.height, box.width),
              fits: text.left >= box.left && text.right <= box.right};
    })""")
    assert len(sizes) > 10
    assert [one for one in sizes if one["text"] < 10 or one["box"] < 24 or not one["fits"]] == []
