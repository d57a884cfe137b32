"""The pages of the section Learn in Chromium: no errors at any width, links, no JavaScript."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.site.visiting import until

pytestmark = pytest.mark.browser

PAGES = (
    "use.html",
    "learn/index.html",
    "learn/how-we-measure.html",
    "contribute.html",
    "design.html",
    "learn/reading-order.html",
    "learn/glossary.html",
    "api.html",
    "replication.html",
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_pages_have_no_console_messages_and_fit_every_width(
    visit: Callable[..., Any], path: str, scheme: str
) -> None:
    visitor = visit(scheme=scheme)
    page = visitor.open(path)
    for width in (320, 768, 1024, 1440):
        page.set_viewport_size({"width": width, "height": 800})
        until(page, f"Math.max(document.documentElement.scrollWidth, innerWidth) === {width}")
    assert page.locator("h1").count() == 1
    assert visitor.complaints == []


def test_each_page_links_to_its_neighbours(visit: Callable[..., Any]) -> None:
    page = visit().open("index.html")
    page.get_by_role("navigation", name="Tabs").get_by_role("link", name="Learn").click()
    for name, path in (
        ("How we measure", "learn/how-we-measure"),
        ("Glossary", "learn/glossary"),
        ("API", "api"),
        ("Basics", "learn/index"),
    ):
        beside = page.get_by_role("navigation", name="Learn", exact=True)
        beside.get_by_role("link", name=name).click()
        page.wait_for_url(f"**/{path}.html")
        assert beside.locator("a.md-nav__link--active").inner_text() == name


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


def test_former_addresses_of_every_kind_redirect(
    visit: Callable[..., Any],
    bare_checkout: Path,
    tmp_path: Path,
    build: Callable[..., Path],
    served: Callable[[Path], Any],
) -> None:
    checkout = shutil.copytree(bare_checkout, tmp_path / "checkout")
    entry = checkout / "catalog" / "papers" / "wanda.yaml"
    text = entry.read_text(encoding="utf-8")
    entry.write_text(re.sub(r"(?m)^(added: .*)$", r"\1\naliases: [formerwanda]", text))
    with served(build(checkout)) as address:
        visitor = visit(home=address, java_script_enabled=False)
        page = visitor.page
        page.goto(f"{address}papers/formerwanda.html", wait_until="commit")  # redirects at once
        page.wait_for_url("**/papers/wanda.html")
        assert page.locator("h1").inner_text().startswith("Wanda")
        assert visitor.complaints == []


def test_data_files_are_links_to_files(visit: Callable[..., Any]) -> None:
    visitor = visit()
    page = visitor.open("api.html")
    for link in page.locator(".atlas-files a").all():
        answer = page.request.get(f"{visitor.home}{link.get_attribute('href')}")
        assert answer.ok
        assert len(answer.body()) > 20
