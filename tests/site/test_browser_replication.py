"""Does the order hold, in Chromium: the marks and the filters."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.site.visiting import address, ready
from tools.site.atlas import Atlas
from tools.site.replication import Tally, all_comparisons, comparisons

pytestmark = pytest.mark.browser


def count(page: Page) -> int:
    """Return the number of visible pairs."""
    ready(page)
    return page.locator("[data-filtered]:visible").count()


def test_pairs_of_a_method_are_filtered_and_kept_in_the_address(
    visit: Callable[..., Any], atlas: Atlas
) -> None:
    pairs = all_comparisons(atlas)
    wanda = comparisons("wanda", pairs)
    visitor = visit()
    page = visitor.open("replication.html")
    assert count(page) == len(pairs)
    page.get_by_label("Method").select_option(label="Wanda")
    assert count(page) == len(wanda)
    expect(page.locator(".atlas-selects output")).to_have_text(
        f"{len(wanda)} of {len(pairs)} pairs"
    )
    page.locator("form.atlas-selects").get_by_label("Result").select_option("holds")
    assert count(page) == Tally.of(wanda).holds
    expect(page.get_by_role("heading", name="Not measured")).to_be_hidden()
    assert address(page).endswith("replication.html?method=wanda&outcome=holds")
    page.go_back()
    assert count(page) == len(wanda)
    page.get_by_role("button", name="Reset").click()
    assert count(page) == len(pairs)
    assert visitor.complaints == []


def test_a_mark_leads_to_a_pair_that_the_filter_hides(visit: Callable[..., Any]) -> None:
    page = visit().open("replication.html?outcome=not%20measured")
    ready(page)
    mark = page.locator(".atlas-method-orders a[title$=': holds']").first
    target = mark.get_attribute("href")
    expect(page.locator(target)).to_be_hidden()
    mark.click()
    expect(page.locator(target)).to_be_in_viewport()
    assert address(page).endswith(f"replication.html{target}")


def test_a_mark_leads_to_its_numbers(visit: Callable[..., Any]) -> None:
    page = visit(width=390).open("replication.html")
    mark = page.locator(".atlas-method-orders a[title]").first
    pair, _, verdict = (mark.get_attribute("title") or "").rpartition(": ")
    mark.click()
    row = page.locator("tr:target")
    # The row may name the two methods in the other order, with `behind` for `ahead of`.
    names, _, removed = pair.rpartition(" at ")
    for name in re.split(" (?:ahead of or behind|ahead of|behind|close to) ", names):
        expect(row).to_contain_text(name)
    expect(row).to_contain_text(f"at {removed}")
    expect(row).to_contain_text(verdict)
    expect(row).to_be_in_viewport()


@pytest.mark.parametrize("width", [390, 1280])
def test_long_settings_fit_the_page(
    visit: Callable[..., Any],
    published: Path,
    served: Callable[[Path], Any],
    width: int,
) -> None:
    with served(published) as home:
        page = visit(home=home, width=width).open("replication.html")
        assert page.locator(".atlas-orderings code").count()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
