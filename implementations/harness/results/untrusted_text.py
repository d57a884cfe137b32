"""Escape untrusted text for terminals and spreadsheets.

A record, a page or an argument can contain terminal escape codes, marks that reverse the writing
direction, and lone surrogates. None of these may reach the terminal.
"""

from __future__ import annotations

import json
import re
from unicodedata import category

FORMULA = ("=", "+", "-", "@")
"""First characters of a cell that a spreadsheet reads as a formula."""
NOT_PLAIN = re.compile(r"[^\n -~]")
NUMBER = re.compile(r"[+-]?\d[\d.]*(e[+-]?\d+)?", re.IGNORECASE)


def escape(text: str, *, lines: bool = False) -> str:
    """Escape unprintable characters, as in `\\x1b`; `lines` keeps newlines and tabs."""
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(c if c in kept or _is_printable(c) else repr(c)[1:-1] for c in text)


def escape_json(text: str, encoding: str = "utf-8") -> str:
    """Escape unprintable and unencodable characters of a JSON text without changing its value."""

    def escape_character(match: re.Match[str]) -> str:
        character = match[0]
        keep = _is_printable(character) and _is_encodable(character, encoding)
        return character if keep else json.dumps(character)[1:-1]

    return NOT_PLAIN.sub(escape_character, text)


def csv_cell(text: str) -> str:
    """Escape the text of a CSV cell; a leading `'` keeps spreadsheets from running a formula."""
    escaped = escape(text)
    is_formula = escaped.startswith(FORMULA) and not NUMBER.fullmatch(escaped)
    return f"'{escaped}" if is_formula else escaped


def _is_printable(character: str) -> bool:
    return character.isprintable() or category(character) == "Zs"  # spaces of all widths


def _is_encodable(character: str, encoding: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
