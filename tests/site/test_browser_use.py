"""The page "Use it" in Chromium: its questions link to their answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.browser


def test_every_question_links_to_a_section_with_a_command(visit: Callable[..., Any]) -> None:
    page = visit(390).open("use.html")
    links = page.locator(".atlas-how a").all()
    assert len(links) >= 12
    for link in links:
        anchor = (link.get_attribute("href") or "").removeprefix("#")
        heading = page.locator(f"[id='{anchor}']")
        assert heading.is_visible()
        following = page.locator(f"[id='{anchor}'] ~ :is(.highlight, section)")
        assert following.first.is_visible()


def test_pages_of_methods_have_commands_and_link_to_use(
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
