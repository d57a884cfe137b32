"""The menu, and what it takes to add a page: one file, and its name in the list."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.site.atlas import read
from tools.site.menu import Item, beside, items, menu
from tools.site.pages import fronts, make
from tools.site.render import Front

PAGE = '''"""A page dropped in."""

from collections.abc import Iterator

from tools.site.atlas import Atlas
from tools.site.render import Front

FRONT = Front("questions.md", "Questions", "What people ask.", menu="Learn / Asked often")


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    yield FRONT.path, f"{FRONT}# Questions\\n\\nThere are {len(atlas.papers)} papers.\\n"
'''


def test_groups_stand_where_their_first_page_stands() -> None:
    places = ("A", "B / C", "D", "B / E / F", "B / G", "B / E / H")
    made = menu(Front(f"{number}.md", "", menu=place) for number, place in enumerate(places))
    assert made == [
        {"A": "0.md"},
        {"B": [{"C": "1.md"}, {"E": [{"F": "3.md"}, {"H": "5.md"}]}, {"G": "4.md"}]},
        {"D": "2.md"},
    ]


def test_a_page_shows_where_it_stands() -> None:
    places = ("A", "B / C", "D", "B / E / F", "B / E / H")
    made = menu(Front(f"{number}.md", "", menu=place) for number, place in enumerate(places))
    top = [Item("A", "0.md", ""), Item("B", "1.md", "true"), Item("D", "2.md", "")]
    assert items(made, "4.md") == items(made, "below.md", above="4.md") == top
    assert beside(made, "4.md") == [
        ("B", [Item("C", "1.md", ""), Item("E", "3.md", "true")]),
        ("E", [Item("F", "3.md", ""), Item("H", "4.md", "page")]),
    ]
    assert items(made, "0.md")[0].current == "page"
    assert beside(made, "0.md") == beside(made, "below.md") == []


def test_every_page_of_the_menu_is_made_once_and_says_what_it_is(repository: Path) -> None:
    made = make(read(repository))
    paths = [front.path for front in fronts()]
    assert len(paths) == len(set(paths))
    for front in fronts():
        assert front.path in made
        assert front.title
        assert front.menu
        assert front.description.endswith(".")


@pytest.fixture(scope="module")
def extended(bare_checkout: Path, build: Callable[..., Path], tmp_path_factory) -> Path:
    """A site with one page more: one file, and one line in the list of pages."""
    checkout = tmp_path_factory.mktemp("extended") / "checkout"
    shutil.copytree(bare_checkout, checkout)
    pages = checkout / "tools" / "site" / "pages"
    (pages / "questions.py").write_text(PAGE)
    listed = (pages / "__init__.py").read_text()
    changed = listed.replace('    "news",\n', '    "news",\n    "questions",\n')
    assert len(changed.splitlines()) == len(listed.splitlines()) + 1
    (pages / "__init__.py").write_text(changed)
    return build(checkout, ATLAS_SITE="https://example.org/atlas/")


def test_a_new_page_takes_one_file_and_its_name(extended: Path) -> None:
    page = (extended / "questions.html").read_text(encoding="utf-8")
    assert "<title>Questions - Pruning Atlas</title>" in page
    assert '<meta name="description" content="What people ask.">' in page
    beside = (extended / "learn.html").read_text(encoding="utf-8")
    assert '<a href="questions.html">Asked often</a>' in beside
    sitemap = (extended / "sitemap.xml").read_text(encoding="utf-8")
    assert "<loc>https://example.org/atlas/questions.html</loc>" in sitemap
    known = (extended / "llms.txt").read_text(encoding="utf-8")
    assert "- [Questions](https://example.org/atlas/questions.html): What people ask." in known
    search = (extended / "search" / "pages.json").read_text(encoding="utf-8")
    assert '"questions.html"' in search
