"""The search in Chromium, in the catalog and in the header: common queries find their papers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.site.visiting import everything, ready, until
from tools.catalog.schema.paper import Paper
from tools.site.atlas import read
from tools.site.paper_facts import words_of

pytestmark = pytest.mark.browser


def shown(page: Page) -> list[str]:
    """Return the papers that the catalog shows, in its order."""
    ready(page)
    everything(page)
    links = page.locator("#atlas-catalog tbody tr:not([hidden]) th a:first-child")
    found = links.evaluate_all("links => links.map(link => link.getAttribute('href'))")
    return [Path(href).stem for href in found]


def ask(page: Page, text: str) -> list[str]:
    """Enter a query in the header and return the addresses of the results."""
    page.get_by_role("search", name="Site").get_by_role("textbox").fill(text)
    until(page, f"document.querySelector('.md-search').dataset.found === '{text}'")
    found: list[str] = page.locator(".atlas-found a").evaluate_all(
        "links => links.map(link => link.pathname.slice(1) + link.search + link.hash)"
    )
    return found


@pytest.fixture(scope="module")
def papers(repository: Path) -> dict[str, Paper]:
    return dict(read(repository).papers)


def test_the_catalog_finds_papers_by_common_queries(
    visit: Callable[..., Any], papers: dict[str, Paper]
) -> None:
    visitor = visit()
    page = visitor.open("catalog.html")
    box = page.get_by_label("Search", exact=True).last

    def find(text: str) -> list[str]:
        box.fill(text)
        return shown(page)

    def of(field: str, word: str) -> set[str]:
        return {slug for slug, paper in papers.items() if word in words_of(paper, field)}

    neurips = {s for s, one in papers.items() if one.venue == "neurips" and one.year == 2024}
    quantized, patterned = of("combines", "quantization"), of("granularity", "semi-structured")
    assert len(quantized) > 5
    assert len(patterned) > 8
    assert quantized <= set(find("quantization"))
    assert find("quantisation") == find("quantization")
    assert find("Jinqiao") == ["flap"]
    assert set(find("NeurIPS 2024")) == neurips == set(find("nips 2024"))
    assert find("2306.11695") == ["wanda"] == find("https://arxiv.org/abs/2306.11695v2")
    assert patterned <= set(find("2:4"))
    assert patterned <= set(find("semi-structured"))
    # The best match comes before newer papers.
    assert find("sparse gpt")[0] == "sparsegpt" == find("SparseGPT")[0]
    assert find("wanda")[0] == "wanda"
    # Prefixes match, and all words of the query must match.
    assert "sparsegpt" in find("alistar massiv")
    expect(page.locator("#atlas-note")).to_have_text("")
    assert find("slimgtp") == ["slimgpt"]
    expect(page.locator("#atlas-note")).to_have_text(", with similar spelling")
    assert visitor.complaints == []


def test_the_header_finds_papers_and_pages(visit: Callable[..., Any]) -> None:
    visitor = visit()
    page = visitor.open("papers/flap.html")
    before = visitor.weight
    page.keyboard.press("/")
    box = page.get_by_role("search", name="Site").get_by_role("textbox")
    expect(box).to_be_focused()
    assert ask(page, "slimgtp")[0] == "papers/slimgpt.html"
    assert visitor.weight > before, "nothing of the search is loaded before it is asked"
    assert ask(page, "2306.11695") == ["papers/wanda.html"]
    assert Axe().run(page, context=".md-search").response["violations"] == []
    found = ask(page, "2:4")
    assert "catalog.html?find=2%3A4" in found
    assert not [place for place in found if place.startswith("index.html")]
    assert ask(page, "leaderboard")[0] == "leaderboard.html"
    assert any(place.startswith("use.html#") for place in ask(page, "dtype"))
    assert ask(page, "zzzzzz") == []
    expect(page.get_by_role("status").first).to_have_text("No results. Try fewer words.")
    # Keyboard: move to the results and back, close them, open the first.
    assert ask(page, "wanda")[0] == "papers/wanda.html"
    page.keyboard.press("ArrowDown")
    expect(page.locator(".atlas-found a").first).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(box).to_be_focused()
    page.keyboard.press("Escape")
    expect(box).not_to_be_focused()
    expect(page.locator("#__search")).not_to_be_checked()
    box.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/papers/wanda.html")
    assert visitor.complaints == []


def test_the_search_on_a_phone_links_to_the_catalog(
    visit: Callable[..., Any],
) -> None:
    visitor = visit(360)
    page = visitor.open("learn/index.html?q=sparse")
    more = page.get_by_role("link", name="All in the catalog")
    more.wait_for()
    until(page, "document.documentElement.scrollWidth <= 360")
    more.click()
    page.wait_for_url("**/catalog.html?find=sparse")
    assert len(shown(page)) > 10
    assert visitor.complaints == []
