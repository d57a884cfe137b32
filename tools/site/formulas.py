"""A Markdown extension that sets formulas: TeX in, MathML out, shown without a script.

`pymdownx.arithmatex` with `generic: true` finds the formulas, so it is listed before this one.
"""

from __future__ import annotations

import html
import re
from typing import Any
from xml.etree.ElementTree import Element

import nh3
from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor

from implementations.harness.errors import BadInput

# TeX that the converter sets wrongly, and what to write instead: a limit beside its operator, and
# a bracket of one size, for it stretches only the one that has no index.
SIMPLER = (
    (r"\\operatorname\*\{arg\\,", r"\\operatorname{arg"),
    (r"\\operatorname\*", r"\\operatorname"),
    (r"\\[bB]igg?[lr]?(?![a-zA-Z])", ""),
    (r"\\tag\{([^}]*)\}", r"\\qquad\\text{(\1)}"),
)

# What MathML shows a formula by; TeX can name links, styles and, in its text, any element.
TAGS = {
    *("math", "menclose", "mfrac", "mi", "mmultiscripts", "mn", "mo", "mover", "mpadded"),
    *("mphantom", "mprescripts", "mroot", "mrow", "mspace", "msqrt", "mstyle", "msub", "msubsup"),
    *("msup", "mtable", "mtd", "mtext", "mtr", "munder", "munderover", "none"),
}
ATTRIBUTES = {
    *("accent", "accentunder", "columnalign", "columnlines", "columnspacing", "depth", "display"),
    *("displaystyle", "fence", "form", "frame", "height", "linethickness", "lspace", "mathcolor"),
    *("mathsize", "mathvariant", "maxsize", "minsize", "movablelimits", "notation", "rowlines"),
    *("rowspacing", "rspace", "scriptlevel", "separator", "stretchy", "voffset", "width", "xmlns"),
}


def mathml(tex: str, display: str) -> str:
    """Return a formula as MathML; `display` is `inline` or `block`.

    Raises `BadInput` for what is not TeX.
    """
    tex = tex.strip()
    for found, instead in SIMPLER:
        tex = re.sub(found, instead, tex)
    try:
        made = str(convert(tex, display=display))
    except Exception as error:  # it has ten of its own without a common base, and Python's
        raise BadInput(f"the formula '{tex[:80]}' cannot be set; write it otherwise") from error
    cleaned = nh3.clean(made, tags=TAGS, attributes={"*": ATTRIBUTES})
    return cleaned.replace("&nbsp;", "\N{NO-BREAK SPACE}")  # the one name that XML does not know


class _Formulas(Treeprocessor):
    """Replaces what arithmatex leaves: TeX between `\\(` and `\\)` or between `\\[` and `\\]`."""

    def run(self, root: Element) -> None:
        for element in root.iter():
            if element.attrib == {"class": "arithmatex"}:
                tex = html.unescape(element.text or "")[2:-2]
                if element.tag == "div":
                    element.set("class", "atlas-formula")
                else:
                    del element.attrib["class"]
                made = mathml(tex, "block" if element.tag == "div" else "inline")
                element.text = self.md.htmlStash.store(made)


class Formulas(Extension):
    """Sets the formulas of a page."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802  Markdown's name for it
        """Register the replacement with a reader."""
        # After the inline patterns, which find formulas in the text.
        md.treeprocessors.register(_Formulas(md), "formulas", 15)


def makeExtension(**_: Any) -> Formulas:  # noqa: N802  Markdown's name for it
    """Return the extension, as Markdown asks a module for it."""
    return Formulas()
