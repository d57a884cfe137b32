"""The claims in Chromium: filters, and their state in the address."""

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
    """Return the visible groups of rows."""
    ready(page)
    found: list[str] = page.locator(".atlas-claim-tables tbody:visible").evaluate_all(
        "those => those.map(one => one.id)"
    )
    return found


def test_filters_are_kept_in_the_address_and_back_undoes_them(visit: Callable[..., Any]) -> None:
    visitor = visit()
    page = visitor.open("claims.html")
    every = shown(page)
    assert WIKITEXT in every
    assert len(every) > 50
    page.get_by_label("Model").select_option("LLaMA-7B")
    page.get_by_label("Removed").select_option(label="20 %")
    some = shown(page)
    assert WIKITEXT in some
    assert all(name.startswith("llama-7b-at-20-") for name in some)
    expect(page.locator(".atlas-selects output")).to_have_text(
        f"{len(some)} of {len(every)} settings"
    )
    assert address(page).endswith("claims.html?model=LLaMA-7B&share=20")
    # Choices that would leave no row are disabled.
    expect(page.get_by_label("Metric").locator('option[value="acc/mnli"]')).to_be_disabled()
    expect(page.get_by_label("Method").locator('option[value="slimgpt"]')).to_be_enabled()
    page.go_back()
    assert all(name.startswith("llama-7b-at-") for name in shown(page))
    assert set(some) < set(shown(page))
    page.get_by_role("button", name="Reset").click()
    assert shown(page) == every
    assert address(page).endswith("claims.html")
    assert visitor.complaints == []


def test_an_address_filters_and_marks_the_method(visit: Callable[..., Any]) -> None:
    visitor = visit()
    page = visitor.open(QUERY)
    assert shown(page) == [WIKITEXT]
    marked = page.locator("tr.atlas-marked:visible th a").all_inner_texts()
    assert set(marked) == {"SlimGPT"}
    assert visitor.complaints == []
    page = visit().open("claims.html?model=nonsense&share=constructor")
    assert len(shown(page)) > 50
    page = visit().open("claims.html?model=LLaMA-7B&metric=acc/mnli")
    assert shown(page) == []
    expect(page.get_by_text("No claim matches all of these filters.")).to_be_visible()


def test_rows_are_sorted_within_their_group_by_keyboard(visit: Callable[..., Any]) -> None:
    visitor = visit()
    page = visitor.open(f"claims.html?share=20#{WIKITEXT}")
    groups = shown(page)

    def column(number: int) -> list[str]:
        cells = page.locator(f"#{WIKITEXT} tr[data-marked] :is(th, td):nth-child({number})")
        return [text.split("\n")[0] for text in cells.all_inner_texts()]

    usual = column(1)
    head = page.locator('.atlas-claim-tables thead [data-sort="method"]')
    head.get_by_role("button").press("Enter")
    expect(head).to_have_attribute("aria-sort", "ascending")
    assert column(1) == sorted(usual, key=str.casefold)
    assert column(1) != usual
    expect(head.get_by_role("button")).to_be_focused()
    page.keyboard.press("Space")
    expect(head).to_have_attribute("aria-sort", "descending")
    assert column(1) == sorted(usual, key=str.casefold, reverse=True)
    assert "share=20&sort=-method" in address(page)
    head = page.locator('.atlas-claim-tables thead [data-sort="ratio"]')
    head.get_by_role("button").press("Enter")
    ratios = [float(text) for text in column(4) if text]
    assert ratios == sorted(ratios)
    assert len(ratios) > 3
    assert column(4)[: len(ratios)] == [text for text in column(4) if text], "missing ones are last"
    assert page.locator("thead [aria-sort]").count() == 1
    assert shown(page) == groups, "the groups stay where they are"
    page.get_by_role("button", name="Reset").click()
    assert column(1) == usual
    assert page.locator("thead [aria-sort]").count() == 0
    assert visitor.complaints == []


def test_papers_link_to_their_tables_and_metrics_have_definitions(
    visit: Callable[..., Any],
) -> None:
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


def test_every_claim_is_shown_without_javascript(visit: Callable[..., Any]) -> None:
    page = visit(java_script_enabled=False).open(f"claims.html#{WIKITEXT}")
    assert len(shown(page)) == page.locator(".atlas-claim-tables tbody").count() > 50
    expect(page.locator(".atlas-selects")).not_to_be_visible()
    expect(page.locator(".atlas-selects-none")).not_to_be_visible()


@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_fits_a_phone_and_does_not_shift(visit: Callable[..., Any], width: int) -> None:
    visitor = visit(width)
    page = visitor.open("claims.html")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert moved(page) < 0.01
    assert visitor.complaints == []
