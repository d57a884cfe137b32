"""The site without mkdocs and its theme: the same pages and files in a frame of our own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.site.conftest import ENVIRONMENT
from tools.site.atlas import Atlas
from tools.site.frame import write
from tools.site.links import broken

ALONE = (
    "import runpy, sys; sys.modules.update(mkdocs=None, material=None); "
    "runpy.run_module('tools.site', run_name='__main__', alter_sys=True)"
)
FRAME = b'<div class="md-grid plain-main">'
OF_THE_THEME = re.compile(
    r"404\.html|sitemap\.xml(\.gz)?|assets/(images|javascripts|stylesheets)/.*"
)


class Content(HTMLParser):
    """The words, addresses and anchors of what stands in the frame of a page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[str] = []
        opening = r'<(article|main) class="md-content__inner md-typeset"[^<>]*>'
        _, element, rest = re.split(opening, page.read_text(encoding="utf-8"), maxsplit=1)
        self.feed(rest.rpartition(f"</{element}>")[0])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [f"{name}={value}" for name, value in attrs if name in ("href", "src", "id")]

    def handle_data(self, data: str) -> None:
        self.found += data.split()


@pytest.fixture(scope="module")
def plain(bare_checkout: Path, runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of the sample records, built where nobody can import mkdocs."""
    folder = tmp_path_factory.mktemp("plain")
    subprocess.run(
        [sys.executable, "-c", ALONE, "--out", str(folder), "--runs", str(runs)],
        check=True,
        cwd=bare_checkout,
        env=os.environ | ENVIRONMENT | {"PYTHONPATH": str(bare_checkout)},
    )
    return folder


def files(folder: Path) -> dict[str, Path]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in found}


def test_pages_say_and_link_what_they_do_with_the_theme(plain: Path, site: Path) -> None:
    ours, themed = files(plain), files(site)
    assert ours.keys() == {path for path in themed if not OF_THE_THEME.fullmatch(path)}
    framed = [path for path, file in ours.items() if FRAME in file.read_bytes()]
    assert {"papers/sparsegpt.html", "index.html", "api/index.html"} < set(framed)
    for path in framed:
        words = Content(ours[path]).found
        assert len(words) > 20, path
        assert words == Content(themed[path]).found, path


def test_all_else_is_the_same_to_the_byte(plain: Path, site: Path) -> None:
    for path, file in files(plain).items():
        text = file.read_bytes()
        if FRAME not in text:
            assert text == (site / path).read_bytes(), path


def test_every_link_of_the_frame_leads_somewhere(plain: Path) -> None:
    found = files(plain)
    pages = {path: found[path].read_text("utf-8") for path in found if path.endswith(".html")}
    assert list(broken(pages, found)) == []


def test_the_head_says_what_that_of_the_theme_says(plain: Path, site: Path) -> None:
    wanted = r'<title>.*?</title>|<meta (?:name="(?:desc|citation)|property)[^<>]*>|assets/css/\w+'
    for path in ("papers/sparsegpt.html", "index.html", "catalog.html"):
        ours, themed = (
            re.findall(wanted, (folder / path).read_text(encoding="utf-8"))
            for folder in (plain, site)
        )
        assert len(ours) > 3
        assert sorted(ours) == sorted([*themed, "assets/css/plain"])


def test_a_link_that_leads_nowhere_is_named_and_nothing_written(
    bare_checkout: Path, tmp_path: Path
) -> None:
    page = bare_checkout / "docs" / "templates" / "pages" / "design.md"
    before = page.read_text(encoding="utf-8")
    try:
        page.write_text(before + "\n[away](nowhere.md)\n", encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "tools.site", "--out", str(tmp_path / "out")],
            check=False,
            cwd=bare_checkout,
            env=os.environ | ENVIRONMENT | {"PYTHONPATH": str(bare_checkout)},
            capture_output=True,
            text=True,
        )
    finally:
        page.write_text(before, encoding="utf-8")
    assert done.returncode == 1
    assert "design.html links to nowhere.html, which is no file of the site" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.browser
def test_menu_search_and_scripts_work(
    visit: Callable[..., Any], plain: Path, served: Callable[[Path], Any]
) -> None:
    with served(plain) as home:
        seen = visit(home=home)
        page = seen.open("index.html")
        menu = page.get_by_role("navigation", name="Menu")
        menu.get_by_role("link", name="Learn").click()
        page.get_by_role("navigation", name="Learn").get_by_role("link", name="Design").click()
        expect(page).to_have_title("Design notes - Pruning Atlas")
        expect(menu.locator("[aria-current=true]")).to_have_text("Learn")
        page.wait_for_load_state()
        page.get_by_role("textbox", name="Search").fill("sparsegpt")
        page.get_by_role("region", name="Results").get_by_role("link").first.click()
        expect(page.locator("h1")).to_have_text("SparseGPT")
        seen.open("catalog.html?find=sparsegpt")
        expect(page.locator("#atlas-shown")).not_to_have_text("200")
        assert seen.complaints == []


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 360])
def test_opened_from_disk_it_is_read_without_scripts(
    visit: Callable[..., Any], atlas: Atlas, tmp_path: Path, width: int
) -> None:
    write(atlas, tmp_path, served=False)
    seen = visit(width, home=f"{tmp_path.as_uri()}/")
    for path in ("papers/sparsegpt.html", "design.html"):
        page = seen.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("h1").is_visible()
    page.get_by_role("navigation", name="Menu").get_by_role("link", name="Home").click()
    expect(page.locator("h1")).to_have_text("What can a language model lose?")
    assert seen.complaints == []
