"""The claims in a real Chromium: filtered in the page, kept in the address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.site.visiting import address, moved, ready

pytestmark = pytest.mark.browser

WIKITEXT = "llama-7b-at-20-ppl-wikitext2-128"
QUERY = "claims.html?model=LLaMA-7B&share=20&metric=ppl/wikitext2/128&method=slimgpt"


def shown(page: Page) -> list[str]:
    """The groups of rows that can be seen."""
    ready(page)
    found: list[str] = page.locator(".atlas-claim-tables tbody:visible").evaluate_all(
        "those => those.map(one => one.id)"
    )
    return found


def test_filters_are_kept_in_the_address_and_back_undoes_them(visit: Callable[..., Any]) -> None:
    seen = visit()
    page = seen.open("claims.html")
    every = shown(page)
    assert every[0] == WIKITEXT
    assert len(every) > 50
    page.get_by_label("Model").select_option("LLaMA-7B")
    page.get_by_label("Removed").select_option(label="20 %")
    some = shown(page)
    assert some[0] == WIKITEXT
    assert all(name.startswith("llama-7b-at-20-") for name in some)
    expect(page.locator(".atlas-claim-filter output")).to_have_text(
        f"{len(some)} of {len(every)} settings"
    )
    assert address(page).endswith("claims.html?model=LLaMA-7B&share=20")
    # What would leave nothing cannot be chosen.
    expect(page.get_by_label("Metric").locator('option[value="acc/mnli"]')).to_be_disabled()
    expect(page.get_by_label("Method").locator('option[value="slimgpt"]')).to_be_enabled()
    page.go_back()
    assert all(name.startswith("llama-7b-at-") for name in shown(page))
    assert set(some) < set(shown(page))
    page.get_by_role("button", name="Reset").click()
    assert shown(page) == every
    assert address(page).endswith("claims.html")
    assert seen.complaints == []


def test_an_address_filters_and_marks_the_method(visit: Callable[..., Any]) -> None:
    seen = visit()
    page = seen.open(QUERY)
    assert shown(page) == [WIKITEXT]
    marked = page.locator("tr.atlas-claim--chosen:visible th a").all_inner_texts()
    assert set(marked) == {"SlimGPT"}
    assert seen.complaints == []
    page = visit().open("claims.html?model=nonsense&share=constructor")
    assert len(shown(page)) > 50
    page = visit().open("claims.html?model=LLaMA-7B&metric=acc/mnli")
    assert shown(page) == []
    expect(page.get_by_text("No claim matches all of these filters.")).to_be_visible()


def test_a_paper_leads_to_its_table_and_a_metric_says_what_it_is(visit: Callable[..., Any]) -> None:
    page = visit().open("papers/flap.html")
    word = page.locator(".atlas-claims a.atlas-word").first
    word.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    assert "windows of 128 tokens" in word.evaluate("e => getComputedStyle(e, '::after').content")
    page.get_by_role("link", name="14.62").click()
    page.wait_for_url(f"**/claims.html#{WIKITEXT}")
    ready(page)
    expect(page.locator(f"#{WIKITEXT} .family th")).to_be_in_viewport()


def test_every_claim_is_there_without_a_script(visit: Callable[..., Any]) -> None:
    page = visit(java_script_enabled=False).open(f"claims.html#{WIKITEXT}")
    assert len(shown(page)) == page.locator(".atlas-claim-tables tbody").count() > 50
    expect(page.locator(".atlas-claim-filter")).not_to_be_visible()
    expect(page.locator(".atlas-claim-none")).not_to_be_visible()


@pytest.mark.parametrize("width", [390, 1440])
def test_it_fits_a_phone_and_nothing_jumps(visit: Callable[..., Any], width: int) -> None:
    seen = visit(width)
    page = seen.open("claims.html")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert moved(page) < 0.1
    assert seen.complaints == []
