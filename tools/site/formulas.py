"""Formulas set at build: TeX in, MathML out, so that pages need no script to show them."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert

# What the Markdown extension leaves of `$...$` and `$$...$$`.
INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
DISPLAYED = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)

# TeX that the converter sets wrongly, and what to write instead: a limit beside its operator, and
# a bracket of one size, for it stretches only the one that has no index.
SIMPLER = (
    (r"\\operatorname\*\{arg\\,", r"\\operatorname{arg"),
    (r"\\operatorname\*", r"\\operatorname"),
    (r"\\[bB]igg?[lr]?(?![a-zA-Z])", ""),
    (r"\\tag\{([^}]*)\}", r"\\qquad\\text{(\1)}"),
)


def set_formulas(page: str) -> str:
    """Replace each formula of a page by MathML, displayed ones in a frame that can scroll."""
    page = INLINE.sub(lambda found: _mathml(found[1], "inline"), page)
    return DISPLAYED.sub(
        lambda found: f'<div class="atlas-formula" tabindex="0">{_mathml(found[1], "block")}</div>',
        page,
    )


def _mathml(escaped: str, display: str) -> str:
    tex = html.unescape(escaped).strip()
    for found, instead in SIMPLER:
        tex = re.sub(found, instead, tex)
    return str(convert(tex, display=display))
