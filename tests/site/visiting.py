"""What several browser tests do with a page."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page


def ready(seen: Any, path: str) -> Page:
    """Open a page and wait for its script, which shows the controls."""
    page: Page = seen.open(path)
    page.locator(".atlas-controls").wait_for()
    return page


def address(page: Page) -> str:
    """Return the address with the state in it."""
    found: str = page.evaluate("location.href")
    return found


def until(page: Any, expression: str) -> None:
    """Wait for something on the page; its own waiting takes `eval`, which the policy forbids."""
    for _ in range(50):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(100)
    raise AssertionError(expression)
