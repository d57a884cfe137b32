"""The site in a real Chromium: what a person sees, on a phone and a desktop, day and night."""

from __future__ import annotations

import contextlib
import http.server
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, TimeoutError, sync_playwright

from implementations.harness.record import NO_SPEED_UP

pytestmark = pytest.mark.browser

PAGES = (
    "index.html",
    "leaderboard.html",
    "methods.html",
    "papers/magnitude.html",
    "papers/sparsegpt.html",
)
WIDTHS = (360, 768, 1000, 1240, 1440)
# Without these it looks for updates and its own services, which no test should.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

# Contrast of an element's text with the first opaque colour behind it, as WCAG 2 defines it.
CONTRAST = """element => {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map(c => c / 255).map(
      c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  let behind = element;
  while (rgba(getComputedStyle(behind).backgroundColor)[3] < 255) behind = behind.parentElement;
  const style = getComputedStyle(element);
  const text = element instanceof SVGElement ? style.fill : style.color;
  const pair = [luminance(rgba(text)), luminance(rgba(getComputedStyle(behind).backgroundColor))];
  return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
}"""


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    program = os.environ.get("ATLAS_CHROMIUM") or shutil.which("chromium")
    if not program and not os.environ.get("ATLAS_REQUIRE_BROWSER"):
        pytest.skip("needs a Chromium: install Debian's package or name one in ATLAS_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """The site behind a server on this machine."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(site))

        def log_message(self, *_: object) -> None:
            """Keep the test's output readable."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class Visit:
    """One page in a context of its own; remembers complaints and blocks every other host."""

    def __init__(self, context: BrowserContext, home: str) -> None:
        self.home = home
        self.complaints: list[str] = []
        context.route(lambda address: not address.startswith(home), self._refuse)
        self.page: Page = context.new_page()
        self.page.on("console", lambda m: m.type in ("error", "warning") and self._note(m.text))
        self.page.on("pageerror", lambda error: self._note(str(error)))
        self.page.on("requestfailed", lambda request: self._note(f"failed: {request.url}"))

    def open(self, path: str) -> Page:
        self.page.goto(self.home + path, wait_until="networkidle")
        return self.page

    def _note(self, text: str) -> None:
        self.complaints.append(text)

    def _refuse(self, route: Any) -> None:
        self._note(f"left the site: {route.request.url}")
        route.abort()


@pytest.fixture
def visit(chromium: Browser, address: str) -> Iterator[Callable[..., Visit]]:
    contexts: list[BrowserContext] = []

    def start(width: int = 1280, scheme: str = "light", home: str = address, **more: Any) -> Visit:
        viewport = {"width": width, "height": 800}
        contexts.append(chromium.new_context(viewport=viewport, color_scheme=scheme, **more))
        return Visit(contexts[-1], home)

    yield start
    for context in contexts:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_pages_are_quiet_and_fit_every_width(
    visit: Callable[..., Visit], path: str, scheme: str
) -> None:
    seen = visit(scheme=scheme)
    page = seen.open(path)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        # The theme slides its menu aside when the page narrows; what counts is where that ends.
        with contextlib.suppress(TimeoutError):
            page.wait_for_function(
                "document.documentElement.scrollWidth <= innerWidth", timeout=5000
            )
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{width} pixels"
        for table in page.locator("table.atlas-table").all():
            box = table.bounding_box()
            assert box is not None
            assert box["x"] + box["width"] <= width, f"a table is cut off at {width} pixels"
    assert seen.complaints == []


def test_leaderboard_shows_dense_first_and_every_family(visit: Callable[..., Visit]) -> None:
    page = visit().open("leaderboard.html")
    board = page.locator("table.atlas-board")
    assert board.is_visible()
    assert board.locator("tbody tr").first.inner_text().split()[:2] == ["dense", "nothing"]
    assert [text.strip() for text in board.locator("tr.family").all_inner_texts()] == [
        f"Single weights {NO_SPEED_UP}",
        f"N:M patterns {NO_SPEED_UP}",
        "Heads and channels",
        "Whole blocks",
    ]
    assert board.get_by_text("collapsed").count() == 2


@pytest.mark.parametrize(
    ("width", "shown", "hidden"), [(1280, "wide", "narrow"), (360, "narrow", "wide")]
)
def test_the_chart_fits_the_page(
    visit: Callable[..., Visit], width: int, shown: str, hidden: str
) -> None:
    page = visit(width).open("leaderboard.html")
    chart = page.locator(f".atlas-chart--{shown} svg.marks")
    assert chart.is_visible()
    assert not page.locator(f".atlas-chart--{hidden}").is_visible()
    box = chart.bounding_box()
    assert box is not None
    scale = box["width"] / float(chart.get_attribute("width") or 1)
    assert scale * 11 >= 10, "the smallest letters of the chart are below ten pixels"


def test_a_point_of_the_chart_leads_to_its_method(visit: Callable[..., Visit]) -> None:
    page = visit().open("index.html")
    point = page.locator(".atlas-chart--wide a[href='papers/shortgpt.html'] path").first
    point.click()
    page.wait_for_url("**/papers/shortgpt.html")
    assert page.locator("h1").inner_text().startswith("ShortGPT")


def test_a_record_is_two_clicks_from_home(visit: Callable[..., Visit]) -> None:
    seen = visit()
    page = seen.open("index.html")
    page.get_by_role("link", name="Compare").click()
    page.locator("table.atlas-board a", has_text="seed 0").first.click()
    page.wait_for_url("**/records/smol/**.json")
    assert '"schema_version"' in page.inner_text("body")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_schemes(visit: Callable[..., Visit], scheme: str) -> None:
    seen = visit(scheme=scheme)
    for path, selectors in {
        "leaderboard.html": (
            ".md-content h1",
            ".md-content p",
            ".atlas-byline",
            ".atlas-board td.number",
            ".atlas-board tr.collapsed td.number",
            ".atlas-board .spread",
            ".atlas-board a",
            ".atlas-tag--warn",
            ".atlas-key li",
            ".atlas-chart--wide text",
            ".md-tabs__link",
            ".md-tabs__item--active .md-tabs__link",
            ".md-copyright__highlight",
        ),
        "papers/sparsegpt.html": (".highlight code", ".atlas-parameters code"),
    }.items():
        page = seen.open(path)
        for selector in selectors:
            for element in page.locator(selector).all()[:12]:
                assert element.evaluate(CONTRAST) >= 4.5, f"{path}: {selector} in {scheme}"


def test_the_scheme_follows_the_system_and_can_be_switched(visit: Callable[..., Visit]) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light = visit(scheme="light").open("index.html").evaluate(background)
    page = visit(scheme="dark").open("index.html")
    dark = page.evaluate(background)
    assert light != dark
    page.get_by_title("Switch to light colours").click()
    assert page.evaluate(background) == light


def test_search_finds_a_method(visit: Callable[..., Visit]) -> None:
    seen = visit()
    page = seen.open("index.html")
    page.get_by_role("textbox", name="Search").press_sequentially("sparsegpt")
    result = page.locator(".md-search-result__link").first
    result.wait_for()
    assert "papers/sparsegpt.html" in (result.get_attribute("href") or "")
    assert seen.complaints == []


def test_pages_can_be_read_without_javascript(visit: Callable[..., Visit]) -> None:
    page = visit(java_script_enabled=False).open("leaderboard.html")
    assert page.locator("table.atlas-board").is_visible()
    assert page.locator(".atlas-chart--wide svg.marks").is_visible()


def test_the_demo_site_opens_from_disk(
    visit: Callable[..., Visit], bare_checkout: Path, runs: Path, build: Callable[..., Path]
) -> None:
    site = build(bare_checkout, ATLAS_RUNS=str(runs), ATLAS_SITE_SEARCH="false")
    seen = visit(home=f"{site.as_uri()}/")
    page = seen.open("index.html")
    page.get_by_role("link", name="Leaderboard").first.click()
    page.wait_for_url("**/leaderboard.html")
    assert page.locator("table.atlas-board").is_visible()
    assert seen.complaints == []
