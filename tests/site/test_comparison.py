"""The comparison of methods on the leaderboard: facts from the entries, numbers from the board."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.site.visiting import address, ready
from tools.catalog.schema.paper import Code
from tools.site.atlas import Atlas
from tools.site.comparison import facts


def facts_of(atlas: Atlas, slug: str) -> dict[str, Any]:
    made = facts(atlas)
    return dict(zip(made["labels"], made["methods"][slug]["facts"], strict=True))


def test_facts_match_the_entry_and_the_contract(real: Atlas) -> None:
    found = facts_of(real, "flap")
    paper = real.papers["flap"]
    assert found["Published"] == "AAAI 2024"
    assert found["Removes"] == "heads, channels"
    assert found["Code"] == ["official, Apache-2.0", paper.code[0].url]
    assert found["Implementation here"] == "faithful"
    assert found["Does not support"] == ""
    assert facts_of(real, "slicegpt")["Does not support"] == "gemma3, opt"
    assert facts_of(real, "laco")["Implementation here"] == "none"
    assert "zhu2024survey" not in facts(real)["methods"]


def test_unsafe_addresses_are_not_linked(real: Atlas) -> None:
    code = Code.model_construct(url="javascript:alert(1)", official=True, withdrawn=False)
    paper = real.papers["flap"].model_copy(update={"code": (code,)})
    assert facts_of(Atlas({"flap": paper}, {}), "flap")["Code"][1] == "#"


# In a browser


def heads(page: Page) -> list[str]:
    ready(page)
    return page.locator(".atlas-comparison__table thead th a").all_inner_texts()


def row(page: Page, group: str, label: str) -> list[str]:
    ready(page)
    body = page.locator(".atlas-comparison__table tbody").filter(
        has=page.locator("tr:first-child th", has_text=group)
    )
    line = body.locator("tr").filter(has=page.get_by_role("rowheader", name=label, exact=True))
    return [" ".join(text.split()) for text in line.locator("td").all_inner_texts()]


@pytest.mark.browser
def test_selected_methods_are_compared_side_by_side(visit: Callable[..., Any]) -> None:
    visitor = visit()
    page = visitor.open("leaderboard.html")
    bar = page.get_by_role("group", name="Methods to compare")
    page.get_by_label("Compare Wanda").first.check()
    expect(bar).to_contain_text("Select another method")
    assert heads(page) == []
    page.get_by_label("Compare SparseGPT").first.check()
    assert heads(page) == ["Wanda", "SparseGPT"]
    assert address(page).endswith("leaderboard.html?compare=wanda,sparsegpt")
    assert page.locator("[name=compare]:checked").count() == 2
    bar.get_by_role("button", name="Show side by side").click()
    expect(page.get_by_role("heading", name="Comparison")).to_be_in_viewport()
    assert row(page, "Method", "Criterion") == ["weight-activation", "layer-hessian"]
    assert row(page, "Measured at 50 %", "× dense") == ["1.97 ± 0.02", "1.83 ± 0.02 (best)"]
    assert row(page, "Measured at 50 %", "Records") == ["seed 0, seed 1, seed 2"] * 2
    page.go_back()
    assert heads(page) == []
    page.go_forward()
    page.locator(".atlas-comparison").get_by_role("button", name="Clear").click()
    assert heads(page) == []
    assert address(page).endswith("leaderboard.html")
    assert visitor.complaints == []


def changed(page: Page, changes: dict[tuple[str, str], dict[str, Any]]) -> None:
    """Change rows of the board, by method and settings, before the script gets them."""

    def answer(route: Route) -> None:
        data = route.fetch().json()
        for one in data["rows"]:
            new = dict(changes.get((one["method"], one["removed"][1]), {}))
            one["cells"][0] = new.pop("ratio", one["cells"][0])
            one.update(new)
        route.fulfill(json=data)

    page.route("**/leaderboard/smol*.json", answer)


def compared(visitor: Any, changes: dict[tuple[str, str], dict[str, Any]]) -> list[str]:
    """Compare Wanda and SparseGPT after such changes; return the cells of the ratio at 50 %."""
    changed(visitor.page, changes)
    page = visitor.open("leaderboard.html?compare=wanda,sparsegpt&share=50")
    return row(page, "Measured at 50 %", "× dense")


@pytest.mark.browser
def test_methods_with_different_settings_are_compared_at_the_same_sparsity(
    visit: Callable[..., Any],
) -> None:
    visitor = visit()
    note = "trained while pruning; 100 of 10,000 steps"
    changes = {("wanda", "50 %"): {"removed": [0.5, "50 %, steps=100"], "note": note}}
    assert compared(visitor, changes) == ["1.97 ± 0.02", "1.83 ± 0.02 (best)"]
    settings = row(visitor.page, "Measured at 50 %", "Settings")
    assert settings == [f"50 %, steps=100 {note}", "50 %"]


@pytest.mark.browser
def test_methods_without_a_common_sparsity_are_not_compared(visit: Callable[..., Any]) -> None:
    visitor = visit()
    changed(visitor.page, {("wanda", "50 %"): {"represents": False}})
    page = visitor.open("leaderboard.html?compare=wanda,sparsegpt&share=50")
    ready(page)
    groups = page.locator(".atlas-comparison__group").all_inner_texts()
    assert groups[1:] == ["No two of these methods were measured at the same sparsity."]


@pytest.mark.browser
@pytest.mark.parametrize(
    ("changes", "best"),
    [
        # With three seeds each, the deviations decide: 0.14 is more than their sum.
        ({"ratio": [1.97, "1.97", "", 0.06]}, [False, True]),
        ({"ratio": [1.97, "1.97", "", 0.13]}, [False, False]),
        # Otherwise 5 % of the larger one's added cross-entropy decide: here 3 % of the ratio.
        ({"ratio": [1.88, "1.88"], "records": []}, [False, False]),
        ({"ratio": [1.94, "1.94"], "records": []}, [False, True]),
        ({"ratio": [1.70, "1.70"], "records": []}, [True, False]),
        # A row without a rank, or of another class, is not compared.
        ({"ratio": [1.70, "1.70"], "rank": ""}, [False, False]),
        ({"ratio": [1.70, "1.70"], "group": 99}, [False, False]),
    ],
)
def test_the_best_row_is_clearly_better_than_others_of_its_class(
    visit: Callable[..., Any], changes: dict[str, Any], best: list[bool]
) -> None:
    cells = compared(visit(), {("wanda", "50 %"): changes})
    assert ["(best)" in cell for cell in cells] == best


@pytest.mark.browser
def test_only_sparsities_that_two_methods_have_are_compared(visit: Callable[..., Any]) -> None:
    page = visit().open("leaderboard.html?compare=flap,shortgpt")
    ready(page)
    groups = page.locator(".atlas-comparison__group").all_inner_texts()
    # Only FLAP was measured at 50 %.
    assert groups[1:] == ["Measured at 10 %", "Measured at 20 %", "Measured at 30 %"]
    assert row(page, "Measured at 20 %", "× dense") == ["1.82 (best)", "4.90"]
    # The filter of the board applies here too, and collapsed models are marked.
    page = visit().open("leaderboard.html?compare=magnitude,wanda&share=2:4")
    ready(page)
    assert page.locator(".atlas-comparison__group").count() == 2
    assert row(page, "Measured at 2:4", "× dense") == ["68.20 collapsed", "4.31"]


@pytest.mark.browser
def test_unmeasured_methods_show_their_facts(visit: Callable[..., Any]) -> None:
    visitor = visit(390)
    page = visitor.open("leaderboard.html?compare=wanda,wanda,nonsense,constructor,laco")
    assert heads(page) == ["Wanda", "LaCo"]
    assert "not on this board" in page.locator(".atlas-comparison__table thead").inner_text()
    assert row(page, "Method", "Removes") == ["weights", "blocks"]
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert visitor.complaints == []


@pytest.mark.browser
def test_unknown_names_do_not_take_a_place(visit: Callable[..., Any]) -> None:
    page = visit().open("leaderboard.html?compare=a,b,c,d,wanda,flap")
    assert heads(page) == ["Wanda", "FLAP"]
    expect(page.get_by_label("Compare SparseGPT").first).to_be_enabled()


@pytest.mark.browser
def test_the_box_of_a_method_keeps_the_focus(visit: Callable[..., Any]) -> None:
    page = visit().open("leaderboard.html")
    box = page.get_by_label("Compare SparseGPT").first
    for checked in (True, False):
        box.focus()
        page.keyboard.press("Space")
        ready(page)
        expect(box).to_be_checked(checked=checked)
        expect(box).to_be_focused()
