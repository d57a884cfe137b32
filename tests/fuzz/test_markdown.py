"""Any Markdown is read as a list, and is safe on a page."""

import re
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st
from markdown import Markdown

from implementations.harness.errors import BadInput
from tests.fuzz.foreign import fuzz, value_or_refusal
from tools.catalog.entries.loader import load_catalog
from tools.discovery.known_papers import add_command, index_papers
from tools.discovery.list_parser import read_list
from tools.site.formulas import Formulas
from tools.site.markdown import rebase
from tools.site.quotes import linked, quotes
from tools.site.readme import plain_markdown

LAYOUT = ["# ", "\n\n", "\n", "- ", "  ", "    ", "> ", "| a | b |\n|---|---|\n", "```\n", "1. "]
INLINE = ["`", "*", "__", "[a](b)", "[a](javascript:alert(1))", "![a](b)", "<https://a.b>", "&lt;"]
FORMULAS = ["$x_i$", "$$\nx\n$$\n", "\\(x\\)", "$\\text{<script>x</script>}$"]
FORMULAS += ["$\\href{javascript:x}{y}$", "\x02wzxhzdk:0\x03"]
ATTRIBUTES = ["!!! note\n", "[a]: javascript:x\n", "{: onclick=x style=x }", "\\{: onclick=x }"]
ATTRIBUTES += ["{ #__config .md-header }"]
MARKS = st.sampled_from(LAYOUT + INLINE + FORMULAS + ATTRIBUTES)
SCRIPTS = [
    "<script>alert(1)</script>",
    "<script>",
    "<svg><script>x</script></svg>",
    "<svg/onload=x>",
]
SCRIPTS += ["<img src=x onerror=alert(1)>", "<details open ontoggle=x>", "<style>*{}</style>"]
LINKS = ["<a href='javascript:x'>", "<a href=' data:text/html,x'>", "<a href=JaVaScRiPt&#58;x>"]
LINKS += ["<base href=//x>", "<link>", "<iframe src=//x>", "<object data=x>", "<pre>"]
FORMS = [
    "<form action=//x><input name=q>",
    "<textarea>",
    "<select><option>",
    "<title>",
    "<template>",
]
FORMS += ["<meta http-equiv=refresh content=0>", "<p id=__config>", "<h2 id=line-1>"]
OPEN = ["<!--", "-->", "<![CDATA[", "</div></div>", "<b", "<?php", "<!doctype html>", "<table><td>"]
OPEN += ["<math><mtext>", "<noscript><p title='", "<div markdown='1' onclick=x>"]
OPEN += ['<p class="md-overlay highlight" style="position:fixed">']
HTML = st.sampled_from(SCRIPTS + LINKS + FORMS + OPEN)
TEXT = st.text(max_size=20)
MARKDOWN = st.lists(MARKS | HTML | TEXT, max_size=8).map("".join)
# The elements of Markdown, and MathML.
TAGS = re.compile(
    "a|blockquote|br|code|div|em|h[1-6]|hr|img|li|math|ol|p|pre|span|strong|table|tbody|td|th|thead"
    "|tr|ul"
)
EXTENSIONS = (
    *("admonition", "attr_list", "md_in_html", "tables", "toc"),
    *("pymdownx.highlight", "pymdownx.superfences", "pymdownx.arithmatex"),
)
MATH = re.compile(r"<math\b.*?</math>", re.DOTALL)


class Strict(HTMLParser):
    """Checks every tag, attribute and address of HTML against the allowed ones."""

    def handle_starttag(self, tag, attrs):
        assert TAGS.fullmatch(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]
        target = re.sub(r"[\x00-\x20]", "", dict(attrs).get("href") or "").lower()
        assert re.match(r"(https?|mailto):|[^:]*([/?#]|$)", target), target


def shown(text):
    """Render a README like the site, followed by more Markdown."""
    part = rebase(text, "papers/x.md", {"wanda"}, "https://a.b", "implementations/x")
    part = plain_markdown(linked(part, quotes(part, "x = 1\n")), "README.md")
    generic = {"pymdownx.arithmatex": {"generic": True}}
    page = Markdown(extensions=[*EXTENSIONS, Formulas()], extension_configs=generic).convert(
        f'before\n\n<div class="text" markdown>\n\n{part}\n\n</div>\n\n## Behind\n\n*it*\n'
    )
    strict = Strict()
    strict.feed(MATH.sub("<math>", page))
    strict.close()
    for formula in MATH.findall(page):
        assert not re.search(r"<(script|a|img|iframe|style)\b|\s(href|style|class|on\w+)=", formula)


@fuzz
@given(text=MARKDOWN)
def test_any_readme(text):
    value_or_refusal(lambda: shown(f"## How it works\n\n{text}"), BadInput)


@fuzz
@given(tex=st.text(alphabet="\\{}^_$&<>abx12 \n'\"", max_size=30) | st.text(max_size=20))
def test_any_formula(tex):
    value_or_refusal(lambda: shown(f"${tex}$\n\n$$\n{tex}\n$$\n"), BadInput)


INDEX = index_papers(load_catalog())


@fuzz
@given(
    lines=st.lists(
        st.lists(
            MARKS
            | TEXT
            | st.sampled_from(["- [2023.07] ", "* ", "| ", "A Title of Words, ", "ICML 2023"])
            | st.sampled_from(["[[Paper](https://arxiv.org/abs/2301.00774v99999)]", "['"])
            | st.sampled_from(["(https://[::1)", "[x](", "\x1b[2J"]),
            max_size=8,
        ).map("".join),
        max_size=5,
    ),
    pump=st.sampled_from([" ", "[", "(", "a|a", "[a](", "#", "*", "\\", "!["]),
)
def test_any_list(lines, pump):
    much = pump * (4_900 // len(pump))
    text = "\n".join([*lines, f"- [2023.07] A Title of{much}Words, ICML 2023"])
    for item in read_list(text):
        INDEX.find(item.title, item.links)
        assert "\x1b" not in add_command(item.title, item.links)


def test_quotes_of_many_pieces_are_read_quickly():
    code = f"f({', '.join(['a'] * 500)})\n"
    readme = f"### In the code\n\n| Code | Why |\n| --- | --- |\n| `{'a...' * 40}b` | none |\n"
    assert [quote.line for quote in quotes(readme, code)] == [None]
