"""The pages of the section Learn in Chromium: no errors at any width, links, no JavaScript."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


def test_words_of_a_paper_link_to_definitions_and_to_the_catalog(
    visit: Callable[..., Any],
) -> None:
    page = visit().open("papers/sparsegpt.html")
    page.locator("a.atlas-word", has_text="layer-hessian").click()
    page.wait_for_url("**/learn/glossary.html#criterion-layer-hessian")
    papers = page.locator("#criterion-layer-hessian a.atlas-count")
    count = papers.inner_text()
    papers.click()
    page.wait_for_url("**/catalog.html?criterion=layer-hessian")
    expect(page.locator("#atlas-shown")).to_have_text(count)
    assert page.locator("#atlas-catalog").get_by_role("link", name="SparseGPT").is_visible()


def test_formulas_and_drawings_need_no_javascript(visit: Callable[..., Any]) -> None:
    page = visit(java_script_enabled=False).open("learn/index.html")
    assert page.locator(".atlas-formula math").count() >= 10
    loaded = "[...document.fonts].map(font => `${font.family}: ${font.status}`)"
    assert page.evaluate(loaded) == ["STIX Two Math: loaded"]
    for drawing in page.locator(".atlas-shapes svg").all():
        box = drawing.bounding_box()
        assert box is not None
        assert box["width"] == pytest.approx(box["height"], rel=0.05)


@pytest.mark.parametrize(
    ("former", "now"),
    [
        ("taxonomy.html", "learn/glossary.html"),
        ("taxonomy/criterion-magnitude.html", "catalog.html?criterion=magnitude"),
    ],
)
def test_former_addresses_redirect(visit: Callable[..., Any], former: str, now: str) -> None:
    visitor = visit(java_script_enabled=False)
    visitor.page.goto(visitor.home + former, wait_until="commit")
    visitor.page.wait_for_url(f"**/{now}")
    assert visitor.complaints == []
