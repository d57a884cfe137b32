"""Markdown that comes with a method, as HTML that can be read and do nothing else.

It is made into HTML by itself, so that what it leaves open ends with it, and then cleaned: what is
not named here, be it a tag, an attribute, a class or a scheme of addresses, is left out.
"""

from __future__ import annotations

import re
from collections.abc import Container
from functools import partial

import nh3
from markupsafe import Markup

from implementations.harness.errors import BadInput
from tools.site.dialect import reader

LARGEST = 50_000
"""Bytes of the longest README that is read."""
BRACKETS = 500
"""Of a paragraph; Markdown looks for the end of each link through all of it."""

TAGS = {
    *("a", "abbr", "b", "blockquote", "br", "code", "dd", "del", "details", "div", "dl", "dt"),
    *("em", "h2", "h3", "h4", "h5", "h6", "hr", "i", "ins", "kbd", "li", "mark", "ol", "p", "pre"),
    *("q", "s", "samp", "small", "span", "strong", "sub", "summary", "sup", "table", "tbody"),
    *("td", "tfoot", "th", "thead", "tr", "u", "ul", "var"),
}
ATTRIBUTES = {
    "*": {"id", "class", "title"},
    "a": {"href"},
    "ol": {"start"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
}
SCHEMES = {"http", "https", "mailto"}
CLASSES = re.compile(
    r"highlight|arithmatex|headerlink|admonition(-title)?|note|abstract|info|tip|success|question"
    r"|warning|failure|danger|bug|example|quote|[a-z]{1,2}\d?"  # the last are words of code
)
ANCHOR = re.compile(r"(?!line-)[a-z][\w-]*", re.ASCII)
"""Anchors that are none of the theme's, which begin with an underscore, nor lines of the code."""


def rendered(text: str, what: str, taken: Container[str] = ()) -> Markup:
    """Return Markdown as clean HTML without the anchors that are `taken`; `what` names it.

    Raises:
        BadInput: it is nested too deeply, or a paragraph of it is all brackets.
    """
    if max(part.count("[") for part in re.split(r"\n[ \t]*\n", text)) > BRACKETS:
        raise BadInput(f"{what}: a paragraph has more than {BRACKETS} brackets; divide it")
    try:
        # Lines of code are counted anew for each text, but an anchor stands once on a page.
        html = reader(anchors=False).convert(text)
    except RecursionError as error:
        raise BadInput(f"{what} is nested too deeply") from error
    return Markup(clean(html, taken))


def clean(html: str, taken: Container[str] = ()) -> str:
    """Return HTML without what it could do, and with every tag closed."""
    return nh3.clean(
        html,
        tags=TAGS,
        attributes=ATTRIBUTES,
        attribute_filter=partial(_kept, taken),
        url_schemes=SCHEMES,
        link_rel=None,
    )


def _kept(taken: Container[str], tag: str, name: str, value: str) -> str | None:
    if name == "id":
        return value if ANCHOR.fullmatch(value) and value not in taken else None
    if name == "class":
        return " ".join(filter(CLASSES.fullmatch, value.split())) or None
    return value
