"""What several browser tests do with a page; they wait for what it says, never for time."""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import Locator, Page

PATIENCE = 120_000  # milliseconds: how long a broken page is waited for on the slowest machine

# Vega and the theme take part in this: the page is laid out and drawn twice before it is asked, and
# what was drawn first is among the answers, so that they come even where nothing moved.
MOVED = """async () => {
  for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
  return new Promise(done => {
    const observer = new PerformanceObserver(list => done(
      list.getEntriesByType('layout-shift').reduce((sum, entry) => sum + entry.value, 0)));
    for (const type of ['layout-shift', 'paint']) observer.observe({type, buffered: true});
  });
}"""


def ready(page: Page) -> None:
    """Wait until the page shows what its address asks for; its own script says so."""
    until(
        page,
        "!document.querySelector('script[type=module]')"
        " || document.documentElement.dataset.shows === location.search",
    )


def until(page: Page, expression: str) -> Any:
    """Wait for something on the page and return it.

    Playwright's own waiting takes `eval` at every look but the first, which the policy forbids.
    """
    return page.evaluate(
        f"""() => new Promise((done, fail) => {{
          const look = () => Promise.resolve().then(() => {expression})
            .then(found => found ? done(found) : setTimeout(look, 20)).catch(fail);
          setTimeout(() => fail(new Error({json.dumps("never: " + expression)})), {PATIENCE});
          look();
        }})"""
    )


def address(page: Page) -> str:
    """Return the address with the state in it."""
    ready(page)
    found: str = page.evaluate("location.href")
    return found


def moved(page: Page) -> float:
    """Return the cumulative layout shift until now, as Web Vitals define it."""
    ready(page)
    found: float = page.evaluate(MOVED)
    return found


def copied(page: Page, block: Locator) -> str:
    """Press the copy button of a code block and return what comes to the clipboard."""
    page.evaluate("navigator.clipboard.writeText('')")
    block.hover()
    block.locator("button[title]").first.click()
    return str(until(page, "navigator.clipboard.readText()"))
