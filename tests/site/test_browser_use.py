"""Use it, in a real Chromium: its questions lead to answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.browser


def test_every_question_leads_to_a_heading_with_its_command(visit: Callable[..., Any]) -> None:
    page = visit(390).open("use.html")
    links = page.locator(".atlas-how a").all()
    assert len(links) >= 12
    for link in links:
        anchor = (link.get_attribute("href") or "").removeprefix("#")
        heading = page.locator(f"[id='{anchor}']")
        assert heading.is_visible()
        following = page.locator(f"[id='{anchor}'] ~ :is(.highlight, section)")
        assert following.first.is_visible()


def test_the_page_of_a_method_has_its_own_commands_and_leads_here(
    visit: Callable[..., Any],
) -> None:
    page = visit().open("papers/sparsegpt.html")
    own = page.locator("h2#run-it ~ .highlight", has_text="--save pruned")
    assert own.inner_text().strip() == (
        "atlas run sparsegpt --model my-model --pattern 2:4 --save pruned"
    )
    page.get_by_role("link", name="reloading").click()
    page.wait_for_url("**/use.html#reload")
    assert page.locator("#reload-plain").get_by_role("link", name="SparseGPT").is_visible()
