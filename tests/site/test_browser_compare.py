"""Comparing methods in a real Chromium: chosen in the page, kept in the address."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.site.visiting import address, ready
from tools.site.atlas import read

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def implemented(repository: Path) -> list[str]:
    """How the methods with a folder are called."""
    atlas = read(repository)
    names = sorted(atlas.names[slug] for slug in atlas.methods)
    assert {"FLAP", "Magnitude", "Random units", "ShortGPT", "SparseGPT", "Wanda"} <= set(names)
    return names


def heads(page: Page) -> list[str]:
    ready(page)
    found: list[str] = page.locator(".atlas-compare thead th a").all_inner_texts()
    return found


def row(page: Page, group: str, label: str) -> list[str]:
    ready(page)
    body = page.locator(".atlas-compare tbody").filter(
        has=page.locator("tr:first-child th", has_text=group)
    )
    line = body.locator("tr").filter(has=page.get_by_role("rowheader", name=label, exact=True))
    return [" ".join(text.split()) for text in line.locator("td").all_inner_texts()]


def test_two_methods_chosen_in_the_page(visit: Callable[..., Any]) -> None:
    seen = visit()
    page = seen.open("compare.html")
    page.get_by_label("First method").select_option("wanda")
    expect(page.locator(".atlas-pickers__hint")).to_contain_text("Choose a second method")
    page.get_by_label("Second method").select_option(label="SparseGPT")
    assert heads(page) == ["Wanda", "SparseGPT"]
    assert address(page).endswith("compare.html?m=wanda,sparsegpt")
    assert row(page, "What it does", "Criterion") == ["weight-activation", "layer-hessian"]
    assert row(page, "Measured at 50 %", "Times dense") == ["1.97 ± 0.02", "1.83 ± 0.02 (least)"]
    assert row(page, "Code", "Fidelity to the paper") == ["faithful", "faithful"]
    assert row(page, "Works with", "Attention") == ["MHA, GQA, MQA", "MHA, GQA, MQA"]
    assert seen.complaints == []


def test_an_address_shows_its_methods_and_back_the_ones_before(
    visit: Callable[..., Any], implemented: list[str]
) -> None:
    page = visit().open("compare.html?m=flap,shortgpt,llmpruner,slicegpt")
    assert heads(page) == ["FLAP", "ShortGPT", "LLM-Pruner", "SliceGPT"]
    page.get_by_label("Fourth method").select_option("")
    assert heads(page) == ["FLAP", "ShortGPT", "LLM-Pruner"]
    page.go_back()
    assert heads(page) == ["FLAP", "ShortGPT", "LLM-Pruner", "SliceGPT"]
    expect(page.get_by_label("Fourth method")).to_have_value("slicegpt")
    page.get_by_role("button", name="Reset").click()
    assert sorted(heads(page)) == implemented
    assert address(page).endswith("compare.html")


def test_numbers_stand_at_equal_sparsity(visit: Callable[..., Any]) -> None:
    page = visit().open("compare.html?m=flap,shortgpt")
    groups = page.locator(".atlas-compare__group").all_inner_texts()
    shares = [text.split(" %")[0] for text in groups if text.startswith("Measured")]
    # FLAP alone was measured at 50 %.
    assert shares == ["Measured at 10", "Measured at 20", "Measured at 30"]
    assert row(page, "Measured at 20 %", "Times dense") == ["1.82 (least)", "4.90"]


def test_collapsed_numbers_say_so(visit: Callable[..., Any]) -> None:
    page = visit().open("compare.html?m=magnitude,wanda")
    assert row(page, "Measured at 2:4", "Times dense") == ["68.20, collapsed", "4.31"]


def test_only_what_differs(visit: Callable[..., Any]) -> None:
    page = visit().open("compare.html?m=wanda,sparsegpt")
    assert row(page, "What it does", "Calibration") == ["forward", "forward"]
    page.get_by_label("only what differs").check()
    assert row(page, "What it does", "Calibration") == []
    assert row(page, "What it does", "Recovery") == ["none", "closed-form"]
    assert address(page).endswith("?m=wanda,sparsegpt&differ=1")


def test_a_method_is_chosen_once_and_unknown_ones_are_left_out(visit: Callable[..., Any]) -> None:
    seen = visit()
    page = seen.open("compare.html?m=wanda,wanda,nonsense,constructor,flap")
    assert heads(page) == ["Wanda", "FLAP"]
    taken = page.get_by_label("Second method").locator('option[value="wanda"]')
    expect(taken).to_be_disabled()
    assert seen.complaints == []


def test_rows_of_the_catalog_lead_here(visit: Callable[..., Any]) -> None:
    page = visit().open("catalog.html?find=slicegpt")
    own = page.get_by_role("link", name="SliceGPT", exact=True)
    page.locator("#atlas-catalog tr", has=own).get_by_role("link", name="compare").click()
    page.wait_for_url("**/compare.html?m=slicegpt")
    assert heads(page) == ["SliceGPT"]


def test_pickers_work_by_keyboard(visit: Callable[..., Any]) -> None:
    page = visit().open("compare.html")
    page.get_by_label("First method").focus()
    page.keyboard.type("Wan")
    page.keyboard.press("Tab")
    page.keyboard.type("FLA")
    assert address(page).endswith("?m=wanda,flap")


def test_the_implemented_methods_without_a_script(
    visit: Callable[..., Any], implemented: list[str]
) -> None:
    page = visit(java_script_enabled=False).open("compare.html")
    assert sorted(heads(page)) == implemented
    assert not page.locator(".atlas-pickers").is_visible()
    assert len(row(page, "Measured at 50 %", "Times dense")) == len(implemented)
