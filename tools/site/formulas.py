"""Markdown extension that converts TeX formulas to MathML, which browsers show without a script.

`pymdownx.arithmatex` with `generic: true` finds the formulas and must be listed before this one.
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

# TeX that the converter handles badly, each with its replacement: limits go beside their operator,
# and brackets get a fixed size, because the converter stretches only brackets without an index.
REPLACEMENTS = (
    (r"\\operatorname\*\{arg\\,", r"\\operatorname{arg"),
    (r"\\operatorname\*", r"\\operatorname"),
    (r"\\arg\\(min|max)", r"\\operatorname{arg\1}"),
    (r"\\[bB]igg?[lr]?(?![a-zA-Z])", ""),
    (r"\\tag\{([^}]*)\}", r"\\qquad\\text{(\1)}"),
)

# Browsers stretch a bar on the left of its contents, but not one on the right that has an index. So
# that both have the same height, bars outside `\left` and `\right` have a fixed size.
BARS = re.compile("<mo>([|‖])</mo>")

# Allowed MathML. TeX can otherwise produce links, styles and, inside text, any element.
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

    Raises `BadInput` for invalid TeX.
    """
    tex = tex.strip()
    for pattern, replacement in REPLACEMENTS:
        tex = re.sub(pattern, replacement, tex)
    try:
        converted = str(convert(tex, display=display))
    except Exception as error:  # latex2mathml's ten exceptions have no common base
        raise BadInput(
            f"the formula '{tex[:80]}' is not TeX that latex2mathml can convert; rewrite it"
        ) from error
    cleaned = nh3.clean(converted, tags=TAGS, attributes={"*": ATTRIBUTES})
    cleaned = BARS.sub(r'<mo stretchy="false">\1</mo>', cleaned)
    return cleaned.replace("&nbsp;", "\N{NO-BREAK SPACE}")  # XML does not define this entity


class _Formulas(Treeprocessor):
    """Replaces the output of arithmatex: TeX between `\\(` and `\\)` or between `\\[` and `\\]`."""

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
    """Converts the formulas of a page."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802  Markdown's name for it
        """Register the tree processor."""
        # It must run after the inline patterns, which find formulas in the text.
        md.treeprocessors.register(_Formulas(md), "formulas", 15)


def makeExtension(**_: Any) -> Formulas:  # noqa: N802  Markdown's name for it
    """Return the extension; Markdown calls this function by its name."""
    return Formulas()
