"""Every kind of page: axe in both colour schemes, size of controls, all page widths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.site.conftest import Visit
from tests.site.visiting import until

KINDS = (
    "index.html",
    "catalog.html",
    "catalog.html?granularity=structured&pick=flap,wanda",
    "claims.html",
    "replication.html",
    "leaderboard.html",
    "leaderboard.html?chart=speed&share=20",
    "leaderboard/quick-smollm2-135m-float32-cpu.html",
    "leaderboard.html?compare=wanda,flap,owl,slicegpt",
    "choose.html?gain=size&data=forward&amount=20",
    "use.html",
    "learn/index.html",
    "tutorials/prune-a-model.html",
    "tutorials/write-a-method.html",
    "learn/how-we-measure.html",
    "contribute.html",
    "design.html",
    "learn/reading-order.html",
    "learn/glossary.html",
    "api.html",
    "papers/sparsegpt.html",
    "papers/bonsai.html",
    "papers/magnitude.html",
    "papers/zhu2024survey.html",
    "404.html",
)
WIDTHS = (320, 768, 1024, 1240, 1440)
COLOURS = ("color-contrast", "link-in-text-block")
# Marks one element per combination of tag and inherited style: axe's verdict on colours is the same
# for all elements with that combination.
MARK = """() => {
  const looks = new Map([[null, '']]);
  const seen = new Set();
  for (const one of document.querySelectorAll('*')) {
    const style = getComputedStyle(one);
    looks.set(one, looks.get(one.parentElement) + ['backgroundColor', 'backgroundImage', 'opacity',
      'color', 'fill', 'fontSize', 'fontWeight', 'textDecorationLine'].map(name => style[name]));
    const written = [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    const look = one.localName + looks.get(one);
    one.toggleAttribute('data-look', written && one.checkVisibility() && !seen.has(look));
    if (one.hasAttribute('data-look')) seen.add(look);
  }
}"""


@pytest.fixture(scope="module")
def home(published: Path, served: Callable[[Path], Any]) -> Iterator[str]:
    with served(published) as address:
        yield address


@pytest.fixture(scope="module", params=KINDS)
def visitor(
    request: pytest.FixtureRequest, chromium: Browser, published: Path, home: str
) -> Iterator[Visit]:
    """A page of each kind, opened once for all tests."""
    path = request.param
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, color_scheme="light")
    visit = Visit(context, home)
    visit.open(path)
    yield visit
    context.close()


def serious(page: Page, context: str = "html", **options: Any) -> list[str]:
    """Return the violations that axe finds on a page."""
    return [
        f"{violation['id']} ({violation['impact']}): {node['target']} {node['failureSummary']}"
        for violation in Axe()
        .run(page, context, {"resultTypes": ["violations"], **options})
        .response["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


@pytest.mark.browser
def test_axe_finds_nothing_serious(visitor: Visit) -> None:
    page = visitor.page
    found = serious(page, rules={rule: {"enabled": False} for rule in COLOURS})
    for scheme, name in (("light", "default"), ("dark", "slate")):
        page.emulate_media(color_scheme=scheme)
        until(page, f"document.body.dataset.mdColorScheme === '{name}'")
        until(page, "document.getAnimations().length === 0")
        page.evaluate(MARK)
        found += serious(page, "[data-look]", runOnly=COLOURS)
    assert found == []


@pytest.mark.browser
def test_controls_are_large_or_spaced_apart(visitor: Visit) -> None:
    for width in (1280, 390):
        visitor.page.set_viewport_size({"width": width, "height": 800})
        assert serious(visitor.page, runOnly=["target-size"]) == [], width


@pytest.mark.browser
def test_no_console_messages_and_no_horizontal_scrolling(visitor: Visit) -> None:
    page = visitor.page
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        # The theme animates its menu when the page gets narrower; wait for the end.
        until(page, f"Math.max(document.documentElement.scrollWidth, innerWidth) === {width}")
        cut = "all => all.filter(one => one.getBoundingClientRect().right > innerWidth).length"
        assert page.locator("table.atlas-table").evaluate_all(cut) == 0, width
    assert visitor.complaints == []
