"""The lineage in a real Chromium: by mouse, by keyboard, on a phone, without JavaScript."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.site.visiting import address, until
from tools.site.atlas import Atlas, read
from tools.site.lineage import Graph, graph

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def atlas(repository: Path) -> Atlas:
    return read(repository)


@pytest.fixture(scope="module")
def found(atlas: Atlas) -> Graph:
    return graph(atlas)


def reached(found: Graph, start: str) -> set[str]:
    """A paper with all it descends from and all that descends from it."""
    every = {start}
    for edges, end in ((found.earlier, "earlier"), (found.later, "later")):
        todo = [start]
        while todo:
            for edge in edges.get(todo.pop(), ()):
                other = getattr(edge, end)
                if edge.how != "compares-with" and other not in every:
                    every.add(other)
                    todo.append(other)
    return every


def lit(page: Any) -> set[str]:
    return {one.get_attribute("data-id") for one in page.locator(".atlas-node.is-near").all()}


def focused(page: Any) -> str:
    return str(page.evaluate("document.activeElement.dataset.id"))


def node(page: Any, slug: str) -> Any:
    return page.locator(f".atlas-node[data-id='{slug}']")


def test_pointing_lights_up_ancestors_and_descendants(
    visit: Callable[..., Any], found: Graph
) -> None:
    seen = visit(1440)
    page = seen.open("lineage.html")
    for slug in ("wanda", "dsnot", "sparsegpt"):
        node(page, slug).hover()
        assert lit(page) == reached(found, slug) != {slug}
    page.locator("h1").hover()
    assert lit(page) == set()
    assert seen.complaints == []


def test_tab_goes_through_the_papers_in_order_of_time(
    visit: Callable[..., Any], found: Graph
) -> None:
    page = visit(1440).open("lineage.html")
    page.locator(".atlas-lineage").focus()
    order = []
    for _ in found.nodes:
        page.keyboard.press("Tab")
        order.append(focused(page))
    assert order == [one.id for one in found.nodes]  # those outside lead to arXiv or a DOI


def test_arrows_follow_relations(visit: Callable[..., Any], found: Graph) -> None:
    seen = visit(1440)
    page = seen.open("lineage.html")
    order = [one.id for one in found.nodes]
    heirs = [e.later for e in found.later["wanda"] if e.how != "compares-with"]
    heirs = sorted(set(heirs), key=order.index)
    assert len(heirs) > 2
    node(page, "wanda").focus()
    assert lit(page) == reached(found, "wanda")
    page.keyboard.press("ArrowRight")
    assert focused(page) == heirs[0]
    for heir in heirs[1:]:
        page.keyboard.press("ArrowDown")
        assert focused(page) == heir
    page.keyboard.press("ArrowDown")
    assert focused(page) == heirs[0]  # and round again
    page.keyboard.press("ArrowUp")
    assert focused(page) == heirs[-1]
    page.keyboard.press("ArrowLeft")
    assert focused(page) == "wanda"
    page.keyboard.press("Enter")
    page.wait_for_url("**/papers/wanda.html")
    assert seen.complaints == []


def test_arrows_stay_where_no_relation_leads(visit: Callable[..., Any], found: Graph) -> None:
    page = visit(1440).open("lineage.html")
    (first,) = [one.id for one in found.nodes][:1]
    node(page, first).focus()
    page.keyboard.press("ArrowLeft")
    assert focused(page) == first


def test_the_focus_can_be_seen(visit: Callable[..., Any]) -> None:
    page = visit(1440).open("lineage.html")
    page.locator(".atlas-lineage").focus()
    page.keyboard.press("Tab")
    width = "one => parseFloat(getComputedStyle(one.querySelector('rect')).strokeWidth)"
    assert page.locator(".atlas-node:focus-visible").evaluate(width) >= 2
    assert page.locator(".atlas-node:not(:focus)").first.evaluate(width) < 2


def test_comparisons_are_drawn_on_demand(visit: Callable[..., Any], found: Graph) -> None:
    page = visit(1440).open("lineage.html")
    comparisons = page.locator(".atlas-edge--compares-with")
    assert comparisons.count() == sum(edge.how == "compares-with" for edge in found.edges) > 0
    assert not comparisons.first.is_visible()
    page.get_by_label("draw comparisons too").check()
    expect(comparisons.first).to_be_visible()
    assert address(page).endswith("?show=comparisons")
    slug = next(one.id for one in found.nodes if not one.large and not one.outside)
    node(page, slug).focus()
    assert len(lit(page)) > 1
    page.go_back()
    expect(comparisons.first).to_be_hidden()
    assert visit().open("lineage.html?show=comparisons").get_by_label("draw comp").is_checked()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_names_can_be_read(visit: Callable[..., Any], scheme: str) -> None:
    page = visit(1440, scheme=scheme).open("lineage.html")
    for text in page.locator(".atlas-node text").all():
        size = text.evaluate("one => one.getBoundingClientRect().height")
        assert size >= 10
        fits = text.evaluate("""one => {
          const [text, box] = [one, one.previousElementSibling].map(e => e.getBoundingClientRect());
          return text.left >= box.left && text.right <= box.right;
        }""")
        assert fits, text.text_content()


def test_the_drawing_scrolls_inside_itself_on_a_phone(visit: Callable[..., Any]) -> None:
    page = visit(360).open("lineage.html")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    region = page.get_by_role("region", name="Graph of papers over time")
    region.focus()
    page.keyboard.press("ArrowRight")
    until(page, "document.querySelector('.atlas-lineage').scrollLeft > 0")


def test_the_lineage_is_complete_without_javascript(
    visit: Callable[..., Any], found: Graph, atlas: Atlas
) -> None:
    page = visit(java_script_enabled=False).open("lineage.html")
    assert page.locator(".atlas-node").count() == len(found.nodes)
    assert page.locator(".atlas-lineage-choice:visible").count() == 0
    shown = page.locator(".atlas-lineage-list > li").all_inner_texts()
    assert len(shown) == len(found.nodes)
    (entry,) = [text for text in shown if text.startswith("DSnoT ")]
    assert f"builds on {atlas.names['wanda']}" in entry
