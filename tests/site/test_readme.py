"""READMEs of methods: only plain Markdown is allowed, and formulas become safe MathML."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from markdown import Markdown

from implementations.harness.errors import BadInput
from tests.site.conftest import ENVIRONMENT
from tools.site.atlas import read_readme
from tools.site.formulas import Formulas, mathml
from tools.site.readme import MAX_BYTES, plain_markdown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a <b>b</b>", "a < b>b< /b>"),
        ("<!-- a -->", "< !-- a -->"),
        ("a < b and $i<k$", "a < b and $i< k$"),
        ("see [there](https://a.b) and [here](wanda.md#cite)", None),
        ("| a |\n|--:|\n| b |", None),
        ("```python\nx = 1\n```\n\n## Heading { #anchor }", None),
    ],
)
def test_html_in_a_readme_is_escaped(text: str, expected: str | None) -> None:
    assert plain_markdown(text, "README.md") == (expected or text)


@pytest.mark.parametrize(
    "text",
    [
        "[a](javascript:alert(1))",
        "[a](java&#115;cript:alert(1))",
        "[a](data:text/html,x)",
        "[a][b]\n\n[b]: vbscript:x",
        "*a*{ onclick=alert(1) }",
        "a\n{: onclick='alert(1)' }",
        "`x`{ onclick=alert(1) }",
        "## A { #__config }",
    ],
)
def test_refuses_unsafe_attributes_in_a_readme(text: str) -> None:
    with pytest.raises(BadInput, match=r"^a/README\.md: .* is not allowed; use plain Markdown"):
        plain_markdown(text, "a/README.md")


def test_refuses_a_long_readme(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("x" * (MAX_BYTES + 1))
    with pytest.raises(BadInput, match="50,001 bytes"):
        read_readme(path)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("README.md", "## A\n\n[a](javascript:x)\n", "wanda/README.md: <a href='javascript:x'>"),
    ],
)
def test_an_invalid_method_is_named_and_the_output_is_not_changed(
    bare_checkout: Path, tmp_path: Path, file: str, content: str, words: str
) -> None:
    path = bare_checkout / "implementations" / "wanda" / file
    before = path.read_bytes()
    (tmp_path / "index.md").write_text("before")
    try:
        path.write_text(content)
        done = subprocess.run(
            [sys.executable, "-m", "tools.site", "--out", str(tmp_path)],
            check=False,
            cwd=bare_checkout,
            env=os.environ | ENVIRONMENT | {"PYTHONPATH": str(bare_checkout)},
            capture_output=True,
            text=True,
        )
    finally:
        path.write_bytes(before)
    assert done.returncode == 1
    assert words in done.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["index.md"]


# Formulas


def rendered(text: str) -> str:
    """Convert Markdown to HTML with the extensions of `mkdocs.yml`."""
    arithmatex = {"pymdownx.arithmatex": {"generic": True}}
    reader = Markdown(extensions=["pymdownx.arithmatex", Formulas()], extension_configs=arithmatex)
    return str(reader.convert(text))


@pytest.mark.parametrize(
    ("tex", "words"),
    [
        (r"\operatorname*{arg\,min}_{M} x", "argmin M x"),
        (r"\big[ H \big]_{11}", "[ H ] 11"),
        (r"a \tag{1}", "a (1)"),
        (r"a < b", "a < b"),
        (r"\arg\min_V x", "argmin V x"),
    ],
)
def test_tex_becomes_mathml(tex: str, words: str) -> None:
    root = ElementTree.fromstring(rendered(f"${tex}$"))
    assert root[0][0].tag.endswith("math")
    assert " ".join(" ".join(root.itertext()).split()) == words


@pytest.mark.parametrize("tex", [r"\lVert X_{:,j} \rVert_2^2", r"|x|^2", r"\lvert x \rvert"])
def test_bars_of_a_norm_have_a_fixed_size(tex: str) -> None:
    made = mathml(tex, "inline")
    assert len(re.findall('<mo stretchy="false">[|‖]</mo>', made)) == 2
    assert not re.search("<mo>[|‖]</mo>", made)


def test_bars_after_left_and_right_still_grow() -> None:
    made = mathml(r"\left\lVert \frac{x}{y} \right\rVert_2", "inline")
    assert made.count('stretchy="true"') == 2


def test_displayed_formulas_have_their_own_scrolling() -> None:
    root = ElementTree.fromstring(rendered("$$\nx\n$$"))
    assert root.attrib == {"class": "atlas-formula"}
    assert root[0].attrib["display"] == "block"


@pytest.mark.parametrize(
    "tex",
    [
        r"\text{<script>alert(1)</script>}",
        r"\text{<img src=x onerror=alert(1)>}",
        r"\href{javascript:alert(1)}{x}",
        r"\style{color:red}{x}",
        r"\class{md-overlay}{x}",
    ],
)
def test_tex_cannot_produce_links_or_elements(tex: str) -> None:
    made = mathml(tex, "inline")
    assert made.startswith("<math")
    for word in ("script", "img", "href", "style", "class"):
        assert word not in made


@pytest.mark.parametrize("tex", ["a_b_c", r"\left(", "^", "{" * 5000])
def test_refuses_invalid_tex(tex: str) -> None:
    with pytest.raises(BadInput, match="is not TeX that latex2mathml can convert"):
        rendered(f"${tex}$")
