"""The lineage in a real Chromium: by mouse, by keyboard, on a phone, without JavaScript."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.site.visiting import address, until
from tools.site.atlas import Atlas
from tools.site.lineage import Graph, around, graph

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def atlas(real: Atlas) -> Atlas:
    return real


@pytest.fixture(scope="module")
def found(atlas: Atlas) -> Graph:
    return graph(atlas)


def reached(found: Graph, start: str) -> set[str]:
    """A paper with all it descends from and all that descends from it."""
    every = {start}
    for edges, end in ((found.lineage.earlier, "earlier"), (found.lineage.later, "later")):
        todo = [start]
        while todo:
            for edge in edges.get(todo.pop(), ()):
                other = getattr(edge, end)
                if other not in every:
                    every.add(other)
                    todo.append(other)
    return every


def lit(page: Any) -> set[str]:
    return {one.get_attribute("data-id") for one in page.locator(".atlas-node.is-near").all()}


def focused(page: Any) -> str:
    return str(page.evaluate("document.activeElement.dataset.id"))


def node(page: Any, slug: str) -> Any:
    return page.locator(f".atlas-node[data-id='{slug}']")


def drawn(page: Any) -> set[str]:
    return set(page.locator(".atlas-node").evaluate_all("all => all.map(one => one.dataset.id)"))


# Around one paper


def test_the_neighbourhood_of_any_paper_can_be_chosen_and_shared(
    visit: Callable[..., Any], found: Graph
) -> None:
    seen = visit(1440)
    page = seen.open("lineage.html")
    choice = page.get_by_label("Around", exact=True)
    first = choice.input_value()
    drawing = around(found, "slimgpt")
    assert drawing
    for slug in (first, "slimgpt"):
        choice.select_option(slug)
        expect(page.locator("[aria-current][data-id]")).to_have_attribute("data-id", slug)
    assert address(page).endswith("lineage.html?paper=slimgpt")
    assert drawn(page) == set(drawing.boxes)
    page.go_back()
    expect(page.locator("[aria-current][data-id]")).to_have_attribute("data-id", first)
    page.go_forward()
    expect(page.locator("[aria-current][data-id]")).to_have_attribute("data-id", "slimgpt")
    # What is taken from the page of a paper leads from here to the same places.
    node(page, "sparsegpt").click()
    page.wait_for_url("**/papers/sparsegpt.html")
    assert node(page, "sparsegpt").get_attribute("aria-current") == "true"
    assert seen.complaints == []
    page = visit(390).open("lineage.html?paper=slimgpt")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    until(
        page,
        """(() => {
      const box = document.querySelector('[aria-current][data-id]').getBoundingClientRect();
      return box.left >= 0 && box.right <= innerWidth;
    })()""",
    )
    page = visit().open("lineage.html?paper=%3Cscript%3E")
    assert page.get_by_label("Around", exact=True).input_value() == first


def test_the_lineage_is_complete_without_javascript(
    visit: Callable[..., Any], found: Graph, atlas: Atlas
) -> None:
    page = visit(java_script_enabled=False).open("lineage.html")
    assert page.locator(".atlas-lineage-choice:visible").count() == 0
    assert "wanda" in drawn(page)
    shown = page.locator(".atlas-lineage-list > li").all_inner_texts()
    assert len(shown) == len(found.nodes)
    (entry,) = [text for text in shown if text.startswith("DSnoT ")]
    assert f"builds on {atlas.names['wanda']}" in entry
    page.get_by_role("link", name="The whole graph").click()
    page.wait_for_url("**/lineage/whole.html")
    assert drawn(page) == set(found.lineage.by_id)
    assert page.locator(".atlas-lineage-how:visible").count() == 0


# The whole


def test_pointing_lights_up_ancestors_and_descendants(
    visit: Callable[..., Any], found: Graph
) -> None:
    seen = visit(1440)
    page = seen.open("lineage/whole.html")
    for slug in ("wanda", "dsnot", "sparsegpt"):
        node(page, slug).hover()
        assert lit(page) == reached(found, slug) != {slug}
    page.locator("h1").hover()
    assert lit(page) == set()
    assert page.locator(".md-tabs [aria-current]").inner_text() == "Read"
    assert seen.complaints == []


def test_tab_goes_through_the_papers_in_order_of_time(
    visit: Callable[..., Any], found: Graph
) -> None:
    page = visit(1440).open("lineage/whole.html")
    page.locator(".atlas-lineage").focus()
    order = []
    for _ in found.lineage.nodes:
        page.keyboard.press("Tab")
        order.append(focused(page))
    assert order == list(found.lineage.by_id)  # those outside lead to arXiv or a DOI
    width = "one => parseFloat(getComputedStyle(one.querySelector('rect')).strokeWidth)"
    assert page.locator(".atlas-node:focus-visible").evaluate(width) >= 2
    assert page.locator(".atlas-node:not(:focus)").first.evaluate(width) < 2


def test_arrows_follow_relations(visit: Callable[..., Any], found: Graph) -> None:
    seen = visit(1440)
    page = seen.open("lineage/whole.html")
    order = list(found.lineage.by_id)
    heirs = sorted({e.later for e in found.lineage.later["wanda"]}, key=order.index)
    assert len(heirs) > 2
    node(page, order[0]).focus()
    page.keyboard.press("ArrowLeft")
    assert focused(page) == order[0]  # no relation leads on
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
    assert focused(page) in {e.earlier for e in found.lineage.earlier[heirs[-1]]}
    node(page, "wanda").press("Enter")
    page.wait_for_url("**/papers/wanda.html")
    assert seen.complaints == []


@pytest.mark.parametrize("path", ["lineage/whole.html", "papers/wanda.html"])
def test_names_can_be_read_and_pressed(visit: Callable[..., Any], path: str) -> None:
    page = visit(1440).open(path)
    sizes = page.locator(".atlas-node").evaluate_all("""all => all.map(one => {
      const place = name => one.querySelector(name).getBoundingClientRect();
      const [box, text] = [place('rect'), place('text')];
      return {name: one.textContent, text: text.height, box: Math.min(box.height, box.width),
              fits: text.left >= box.left && text.right <= box.right};
    })""")
    assert len(sizes) > 10
    assert [one for one in sizes if one["text"] < 10 or one["box"] < 24 or not one["fits"]] == []


def test_the_whole_begins_where_most_comes_from_and_scrolls_inside_itself(
    visit: Callable[..., Any],
) -> None:
    page = visit(360).open("lineage/whole.html")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    box = node(page, "wanda").bounding_box()
    region = page.get_by_role("region", name="Graph of papers over time")
    frame = region.bounding_box()
    assert box
    assert frame
    assert frame["x"] <= box["x"] < frame["x"] + frame["width"]
    assert frame["y"] <= box["y"] < frame["y"] + frame["height"]
    start = region.evaluate("one => one.scrollLeft")
    region.focus()
    page.keyboard.press("ArrowRight")
    until(page, f"document.querySelector('.atlas-lineage').scrollLeft > {start}")
