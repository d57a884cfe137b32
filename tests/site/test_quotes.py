"""Rows of the table "In the code": each matches a line, and both link to each other."""

from __future__ import annotations

import html
import re
from dataclasses import replace

import pytest

from implementations.harness.errors import BadInput
from tools.site.atlas import Atlas, Method, Source
from tools.site.pages import paper
from tools.site.quotes import linked, listing, quotes

CODE = """\
'''total = a + b, in a docstring.'''

# total = a + b
subtotal = a + b
total = a + b
answer = solve(
    first,
    choose(total, "a  b"),
)
for x in total:  # one by one
    x.fill_(0), x.fill_(1)
"""


def readme(*rows: str) -> str:
    lines = [f"| `{row}` | words |" for row in rows]
    return "\n".join(["## In the code", "", "| line | computes |", "| --- | --- |", *lines, ""])


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ("total = a + b", 5),
        ("total=a+b", 5),
        ("answer = solve(first, choose(total, ...))", 6),
        ("answer = ...", 6),
        ("choose(total, 'a  b')", None),
        ('choose(total, "a b")', 8),
        ("fill_(0)", 11),
        ("fill_(...)", 11),
        ("for x in total:", 10),
        ("in a docstring", None),
        ("tal = a + b", None),
        ("total = a", 4 + 1),
        ("total = a + bb", None),
        ("subtotal = ... total = a + b", None),
    ],
)
def test_a_row_matches_the_first_statement_that_contains_it(row: str, line: int | None) -> None:
    (found,) = quotes(readme(row), CODE)
    assert (found.number, found.text, found.line) == (1, row, line)


def test_only_rows_of_the_table_are_quotes() -> None:
    text = "`total`\n\n## Other\n\n| `x` | y |\n\n" + readme("total") + "\n| `z` | no row |\n"
    assert [quote.text for quote in quotes(text, CODE)] == ["total"]
    assert quotes("", CODE) == []


def test_rows_and_lines_link_to_each_other() -> None:
    text = readme("total = a + b", "x.fill_(0), ...", "total = ...")
    found = quotes(text, CODE)
    made = linked(text, found)
    assert "## In the code { data-search-exclude }\n\n" in made
    assert "| [`total = a + b`](#line-5){ #row-1 } | words |" in made
    lines = listing(CODE, found).split('<span id="line-')
    assert lines[5].startswith('5">')
    assert '<a class="atlas-quoted" href="#row-1">' in lines[5]  # the first of two rows
    assert lines[11].startswith('11">    <a class="atlas-quoted" href="#row-2">')
    assert sum("<a " in line for line in lines) == 2


def test_a_listing_contains_the_whole_file(real: Atlas) -> None:
    for method in real.methods.values():
        text = re.sub("<[^>]*>", "", listing(method.source.code, method.quotes))
        assert html.unescape(text) == method.source.code


def test_a_listing_is_escaped() -> None:
    made = listing("x = '<script>alert(1)</script>'\n", [])
    assert "<script>" not in made


def test_every_row_of_every_readme_matches_a_line(real: Atlas) -> None:
    for slug, method in real.methods.items():
        lost = [quote.text for quote in method.quotes if quote.line is None]
        assert lost == [], f"implementations/{slug}/README.md quotes what {slug}.py does not say"
        if "not written yet" not in method.readme.lower():
            assert len(method.quotes) >= 3, f'{slug}: the README has no table "In the code"'


def test_a_row_without_a_line_is_an_error(real: Atlas) -> None:
    wanda = real.methods["wanda"]
    changed = replace(wanda, readme=wanda.readme.replace(".masked_fill_", ".gone_"))
    with pytest.raises(
        BadInput,
        match=r"wanda/README.md, In the code: wanda.py .* `linear.weight.gone_\(removed, 0",
    ):
        dict(paper.pages(replace(real, methods={**real.methods, "wanda": changed})))


def test_every_page_of_a_method_links_rows_and_lines(
    real: Atlas, real_pages: dict[str, str]
) -> None:
    for slug, method in real.methods.items():
        page = real_pages[f"papers/{slug}.md"]
        for quote in method.quotes:
            assert f"(#line-{quote.line}){{ #row-{quote.number} }}" in page
        assert page.count('class="atlas-quoted"') == len({quote.line for quote in method.quotes})


def test_a_method_without_a_table_has_a_plain_listing() -> None:
    method = Method("m", "## How\n", Source("M", "", (), "x = 1\n"), ())
    assert method.quotes == []
    assert "atlas-quoted" not in listing(method.source.code, method.quotes)
    assert Atlas({}, {"m": method}).methods["m"].quotes == []
