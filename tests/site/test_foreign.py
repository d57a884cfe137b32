"""What comes with a method is read by itself, and only what is named here reaches its page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mkdocs.commands.build import build as build_site
from mkdocs.config import load_config
from mkdocs.exceptions import Abort, PluginError

from implementations.harness.errors import BadInput
from tools.site.atlas import read_readme
from tools.site.body import contents
from tools.site.foreign import BRACKETS, LARGEST, rendered
from tools.site.formulas import set_formulas
from tools.site.pages.paper import ANCHORS


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>alert(1)</script>x", "x"),
        ("a <iframe src='//x'></iframe> b", "<p>a  b</p>"),
        ("a <img src=x onerror=alert(1)> b", "<p>a  b</p>"),
        ("a <b onclick=alert(1)>b</b>", "<p>a <b>b</b></p>"),
        ("<style>* {display: none}</style>x", "x"),
        ("[a](javascript:alert(1))", "<p><a>a</a></p>"),
        ("[a](data:text/html,x)", "<p><a>a</a></p>"),
        ("<a href=' JaVaScRiPt&#58;x'>a</a>", "<p><a>a</a></p>"),
        (
            "[a](https://a.b) [c](d.html#e)",
            '<p><a href="https://a.b">a</a> <a href="d.html#e">c</a></p>',
        ),
        (
            "a\n{: onclick=x style=y .md-overlay .highlight #__config }",
            '<p class="highlight">a</p>',
        ),
        ("<div>open", "<div>open</div>"),
        ("<form><input><button>a</button></form>", "a"),
        ("a <!-- b", "<p>a &lt;!-- b</p>"),
        (
            "<details><summary>a</summary>\nb</details>",
            "<details><summary>a</summary>\nb</details>",
        ),
        ("~H~2~O", "<p>~H~2~O</p>"),
        ("$a < b$", '<p><span class="arithmatex">\\(a &lt; b\\)</span></p>'),
        ("| a |\n|--:|\n| b |", None),
        ("!!! note\n    a", '<div class="admonition note">'),
        (
            "```python\nx = 1\n```",
            '<div class="highlight"><pre><span></span><code><span class="n">',
        ),
    ],
)
def test_what_is_not_named_is_left_out(text: str, shown: str | None) -> None:
    made = rendered(text, "README.md").strip()
    assert "style" not in made
    assert made == shown or (shown or "") in made


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [("How it works", ' id="how-it-works"'), ("Cite", ""), ("__config", ""), ("line 5", "")],
)
def test_anchors_of_the_page_and_the_theme_stay_theirs(heading: str, anchor: str) -> None:
    made = rendered(f"## {heading.replace('_', chr(92) + '_')}", "README.md", ANCHORS)
    assert made.startswith(f"<h2{anchor}>")


def test_headings_of_the_page_are_the_ones_that_are_taken(site: Path) -> None:
    for slug in ("wanda", "flap"):
        page = (site / "papers" / f"{slug}.html").read_text(encoding="utf-8")
        _, _, behind = page.partition('<div class="atlas-beside__code"')
        boards = {link["id"] for link in contents(page.partition('id="measurements"')[2])}
        own = {one["id"] for link in contents(behind) for one in (link, *link["children"])}
        assert "the-code" in own
        assert {one for one in own if not one.startswith("smol")} <= ANCHORS | (boards & ANCHORS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * (BRACKETS + 1), "more than 500 brackets"),
        ("- " * 3000 + "x", "nested too deeply"),
        ("*" * 2000 + "x" + "*" * 2000, "nested too deeply"),
    ],
)
def test_what_takes_too_long_is_refused(text: str, words: str) -> None:
    with pytest.raises(BadInput, match=f"README.md.*{words}"):
        rendered(text, "README.md")


def test_a_long_readme_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("x" * (LARGEST + 1))
    with pytest.raises(BadInput, match="50,001 bytes"):
        read_readme(path)


# Formulas


@pytest.mark.parametrize(
    "tex",
    [
        r"\text{&lt;script&gt;alert(1)&lt;/script&gt;}",
        r"\text{&lt;img src=x onerror=alert(1)&gt;}",
        r"\href{javascript:alert(1)}{x}",
        r"\style{color:red}{x}",
        r"\class{md-overlay}{x}",
    ],
)
def test_tex_names_no_link_and_no_element(tex: str) -> None:
    made = set_formulas(f'<span class="arithmatex">\\({tex}\\)</span>')
    assert made.startswith("<math")
    for word in ("script", "img", "href", "style", "class"):
        assert word not in made


@pytest.mark.parametrize("tex", ["a_b_c", r"\left(", "^", "{" * 5000])
def test_a_formula_that_is_none_is_named(tex: str) -> None:
    with pytest.raises(BadInput, match="cannot be set; write it otherwise"):
        set_formulas(f'<span class="arithmatex">\\({tex}\\)</span>')


@pytest.mark.parametrize("opening", ['<span class="arithmatex">\\(', '<div class="arithmatex">\\['])
def test_openings_without_an_end_take_no_time(opening: str) -> None:
    text = opening * 20_000
    assert set_formulas(text) == text


# The whole


def test_contents_are_those_of_the_second_and_third_rank() -> None:
    found = contents(
        '<h2 id="a">A <code>b</code><a class="headerlink" href="#a">¶</a></h2><h3 x id="c">C</h3>'
        "<h2>none</h2><h4 id='d'>D</h4><h2 id=\"e\">E</h2>"
    )
    assert [(one["name"], one["id"], len(one["children"])) for one in found] == [
        ("A b", "a", 1),
        ("E", "e", 0),
    ]


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("README.md", b"## A\n\n$a_b_c$\n", r"papers/wanda.md: the formula 'a_b_c' cannot be set"),
        ("README.md", b"## A\n\n" + b"[" * 501, r"wanda/README.md: a paragraph has more than 500"),
        ("README.md", b"\xff", r"wanda/README.md is not UTF-8"),
        ("records/support.json", b"[]", r"support.json is damaged; write it again"),
        ("records/support.json", b'{"families": 1}', r"support.json is damaged; write it again"),
        ("records/support.json", b"[" * 9999, r"support.json is nested too deeply"),
    ],
)
def test_a_method_that_cannot_be_shown_is_named(
    bare_checkout: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    content: bytes,
    words: str,
) -> None:
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    path = bare_checkout / "implementations" / "wanda" / file
    before = path.read_bytes()
    try:
        path.write_bytes(content)
        with pytest.raises(Abort) as caught:
            build_site(load_config(str(bare_checkout / "mkdocs.yml"), site_dir=str(tmp_path)))
    finally:
        path.write_bytes(before)
    assert isinstance(caught.value.__context__, PluginError)
    assert re.search(words, str(caught.value.__context__))
