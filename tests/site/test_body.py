"""The body of a page, finished without any program that builds sites."""

from __future__ import annotations

import pytest

from tools.site.body import finish
from tools.site.links import broken


@pytest.mark.parametrize(
    ("link", "address"),
    [
        ("[a](papers/wanda.md)", "papers/wanda.html"),
        ("[a](../use.md#gpu)", "../use.html#gpu"),
        ("[a](catalog.md?find=x.md)", "catalog.html?find=x.md"),
        ("[a](https://example.org/README.md)", "https://example.org/README.md"),
        ("[a](//example.org/README.md)", "//example.org/README.md"),
        ("[a](llms.txt)", "llms.txt"),
        ("[a](#below)", "#below"),
    ],
)
def test_links_lead_to_where_pages_are_read(link: str, address: str) -> None:
    assert finish("a.md", {}, link, []).html == f'<p><a href="{address}">a</a></p>'


def test_what_is_html_already_stays_as_it_is() -> None:
    text = "<h1>A</h1>\n\nb *c* [d](x.md)\n"
    assert finish("a.md", {"html": True}, text, []).html == text


def test_headings_of_markdown_are_the_contents() -> None:
    body = finish(
        "a.md", {}, "# A\n\n## B *c*\n\n### D { #e }\n\n#### F\n\n<h2 id='g'>G</h2>\n", []
    )
    (top,) = body.contents
    (second,) = top["children"]
    assert (second["id"], second["name"]) == ("b-c", "B c")
    assert [one["id"] for one in second["children"]] == ["e"]
    assert '<a class="headerlink" href="#e"' in body.html


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ("b.html", ""),
        ("b.html#there", ""),
        ("../top.html", ""),
        ("b.html?find=x&amp;y=z#there", ""),
        ("data.json#anything", ""),
        ("https://example.org/none.html#none", ""),
        ("#here", ""),
        ("#there", "and there is no such anchor"),
        ("b.html#here", "and there is no such anchor"),
        ("c.html", "which is no file of the site"),
        ("../b.html", "which is no file of the site"),
    ],
)
def test_links_that_lead_nowhere_are_named(link: str, problem: str) -> None:
    pages = {
        "x/a.html": f'<p id="here"><a class="y" href="{link}">text, no link: href="none"</a></p>',
        "x/b.html": '<h2 id="there">B</h2>',
    }
    found = list(broken(pages, {*pages, "top.html", "x/data.json"}))
    assert found == ([f"x/a.html links to {link}, {problem}"] if problem else [])
