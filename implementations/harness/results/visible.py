"""Text of others as it may be shown: what a terminal or a spreadsheet would obey is spelled out.

A record, a page or an argument can hold escape codes, marks that turn the direction of writing, and
halves of characters. None of them is printed as it is.
"""

from __future__ import annotations

import json
import re
from unicodedata import category

FORMULA = ("=", "+", "-", "@")
"""First characters by which a spreadsheet takes a cell for a formula."""
NOT_PLAIN = re.compile(r"[^\n -~]")
NUMBER = re.compile(r"[+-]?\d[\d.]*(e[+-]?\d+)?", re.IGNORECASE)


def visible(text: str, *, lines: bool = False) -> str:
    """Spell out what cannot be seen, such as `\\x1b`; with `lines`, line ends and tabs stay."""
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(c if c in kept or _seen(c) else repr(c)[1:-1] for c in text)


def visible_json(text: str, encoding: str = "utf-8") -> str:
    """Escape in a JSON text what cannot be seen or written in `encoding`; it means the same."""

    def plain(found: re.Match[str]) -> str:
        character = found[0]
        shown = _seen(character) and _fits(character, encoding)
        return character if shown else json.dumps(character)[1:-1]

    return NOT_PLAIN.sub(plain, text)


def cell(text: str) -> str:
    """Write a text for a cell of CSV: on one line, and `'` before what would be a formula."""
    shown = visible(text)
    return f"'{shown}" if shown.startswith(FORMULA) and not NUMBER.fullmatch(shown) else shown


def _seen(character: str) -> bool:
    return character.isprintable() or category(character) == "Zs"  # spaces of all widths


def _fits(character: str, encoding: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
