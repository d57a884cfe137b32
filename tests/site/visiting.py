"""What several browser tests do with a page; they wait for what it says, never for time."""

from __future__ import annotations

import json
import os
import re
from typing import Any

from playwright.sync_api import Locator, Page

PATIENCE = 120_000  # milliseconds: how long a broken page is waited for on the slowest machine
# How much slower pages are made to run, to see that the tests wait: 20 stands for a busy machine.
SLOWDOWN = float(os.environ.get("ATLAS_SLOWDOWN", "1"))

# Asked after two more frames, when all that was done before is drawn. The first paint is among the
# answers too, so that they come even where nothing moved.
MOVED = """async () => {
  for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
  return new Promise(done => {
    const observer = new PerformanceObserver(list => done(
      list.getEntriesByType('layout-shift').reduce((sum, entry) => sum + entry.value, 0)));
    for (const type of ['layout-shift', 'paint']) observer.observe({type, buffered: true});
  });
}"""


def ready(page: Page) -> None:
    """Wait until the page shows what its address asks for; its script, if one runs, says so."""
    until(
        page,
        "!document.querySelector('script[type=module]') || matchMedia('(scripting: none)').matches"
        " || document.documentElement.dataset.shows === location.search",
    )


def everything(page: Page) -> None:
    """Have all rows of a table drawn, of which a page first draws the beginning."""
    ready(page)
    for button in page.get_by_role("button", name=re.compile("^Show all")).all():
        if button.is_visible():
            button.click()


def until(page: Page, expression: str) -> Any:
    """Wait for something on the page and return it.

    Playwright's own waiting takes `eval` at every look but the first, which the policy forbids.
    """
    # Without a script a page has no time to wait in either.
    return page.evaluate(f"() => {expression}") or page.evaluate(
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
