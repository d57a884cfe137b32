"""Formulas set at build: TeX in, MathML out, so that pages need no script to show them."""

from __future__ import annotations

import html
import re

import nh3
from latex2mathml.converter import convert

from implementations.harness.errors import BadInput

# What the Markdown extension leaves of `$...$` and `$$...$$`.
INLINE = re.compile(r'<span class="arithmatex">\\\(([^<]*)\\\)</span>')
DISPLAYED = re.compile(r'<div class="arithmatex">\s*+\\\[([^<]*)\\\]\s*+</div>')

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


def set_formulas(page: str) -> str:
    """Replace each formula of a page by MathML, displayed ones in a frame that can scroll.

    Raises `BadInput` for one that is no TeX.
    """
    page = INLINE.sub(lambda found: _mathml(found[1], "inline"), page)
    return DISPLAYED.sub(
        lambda found: f'<div class="atlas-formula" tabindex="0">{_mathml(found[1], "block")}</div>',
        page,
    )


def _mathml(escaped: str, display: str) -> str:
    tex = html.unescape(escaped).strip()
    for found, instead in SIMPLER:
        tex = re.sub(found, instead, tex)
    try:
        made = str(convert(tex, display=display))
    except Exception as error:  # it has ten of its own without a common base, and Python's
        raise BadInput(f"the formula '{tex[:80]}' cannot be set; write it otherwise") from error
    cleaned = nh3.clean(made, tags=TAGS, attributes={"*": ATTRIBUTES})
    return cleaned.replace("&nbsp;", "\N{NO-BREAK SPACE}")  # the one name that XML does not know
