"""Helpers of the browser tests; they wait for conditions of the page, never for fixed times."""

from __future__ import annotations

import json
import os
import re
from typing import Any

from playwright.sync_api import Locator, Page, Request

PATIENCE = 120_000  # timeout in milliseconds, long enough for the slowest machine
# Factor by which pages are slowed down to check that the tests wait; 20 simulates a busy machine.
SLOWDOWN = float(os.environ.get("ATLAS_SLOWDOWN", "1"))

# Two frames later, all previous changes are drawn. Observing `paint` as well makes sure that the
# observer reports even if there was no layout shift.
MOVED = """async () => {
  for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
  return new Promise(done => {
    const observer = new PerformanceObserver(list => done(
      list.getEntriesByType('layout-shift').reduce((sum, entry) => sum + entry.value, 0)));
    for (const type of ['layout-shift', 'paint']) observer.observe({type, buffered: true});
  });
}"""


def ready(page: Page) -> None:
    """Wait until the page's script, if one runs, has applied the address."""
    until(
        page,
        "!document.querySelector('script[type=module]') || matchMedia('(scripting: none)').matches"
        " || document.documentElement.dataset.shows === location.search",
    )


class OpenRequests:
    """The requests of a page that have not ended yet."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: set[Request] = set()
        page.on("request", self._begin)
        page.on("requestfinished", self._end)
        page.on("requestfailed", self._end)

    def wait(self) -> None:
        """Wait until none has been open for half a second.

        Playwright's "networkidle" never comes on a busy machine if the network was idle for half a
        second before the page was parsed.
        """
        calm = 0
        while calm < 10:
            self.page.wait_for_timeout(50)
            calm = 0 if self.requests else calm + 1

    # Playwright takes no built-in methods as handlers.
    def _begin(self, request: Request) -> None:
        self.requests.add(request)

    def _end(self, request: Request) -> None:
        self.requests.discard(request)


def everything(page: Page) -> None:
    """Show all rows of a table, which at first shows only the beginning."""
    ready(page)
    for button in page.get_by_role("button", name=re.compile("^Show all")).all():
        if button.is_visible():
            button.click()


def until(page: Page, expression: str) -> Any:
    """Wait until a JavaScript expression is true and return its value.

    Playwright's own waiting uses `eval` after the first attempt, which the page's policy forbids.
    """
    # Without JavaScript there are no timers, so the expression must be true at once.
    return page.evaluate(f"() => {expression}") or page.evaluate(
        f"""() => new Promise((done, fail) => {{
          const look = () => Promise.resolve().then(() => {expression})
            .then(found => found ? done(found) : setTimeout(look, 20)).catch(fail);
          setTimeout(() => fail(new Error({json.dumps("never: " + expression)})), {PATIENCE});
          look();
        }})"""
    )


def address(page: Page) -> str:
    """Return the address, which holds the state of the page."""
    ready(page)
    found: str = page.evaluate("location.href")
    return found


def moved(page: Page) -> float:
    """Return the cumulative layout shift until now, as Web Vitals define it."""
    ready(page)
    found: float = page.evaluate(MOVED)
    return found


def copied(page: Page, block: Locator) -> str:
    """Press the copy button of a code block and return the text of the clipboard."""
    page.evaluate("navigator.clipboard.writeText('')")
    block.hover()
    block.locator("button[title]").first.click()
    return str(until(page, "navigator.clipboard.readText()"))
