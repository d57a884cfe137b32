"""Errors and warnings of the harness, and untrusted text in messages and tables.

Each message names the input and how to fix it. A record, a page or an argument can contain terminal
escape codes, marks that reverse the writing direction, and lone surrogates; none of these may reach
the terminal.
"""

import difflib
import json
import re
from collections.abc import Iterable
from unicodedata import category

FEW = 40
"""A message lists all valid names if there are at most this many."""


class AtlasError(Exception):
    """Base of every error the harness raises on purpose; `exit_code` is what `atlas` returns."""

    exit_code = 1


class BadInput(AtlasError, ValueError):
    """Invalid input: a wrong value, name, file or combination of options (exit code 2)."""

    exit_code = 2


class NumericsError(AtlasError):
    """NaN, infinity or a matrix that cannot be factorised; the message names the layer."""


class Unavailable(AtlasError):
    """Something outside the program is missing: network, package, disk space or permission."""


class AtlasWarning(UserWarning):
    """A deviation that does not stop a run; the record of the run keeps it."""


def unknown_name(name: str, known: Iterable[str], what: str) -> str:
    """Return a message that `name` is not a known `what`, with the closest name or a list."""
    known, name = list(known), in_short(name, 100)
    closest = difflib.get_close_matches(name, known, n=1)
    if closest:
        hint = f"did you mean {closest[0]!r}?"
    elif len(known) <= FEW:
        hint = "choose one of " + ", ".join(known) + "."
    else:
        hint = f"none of the {len(known):,} known names is similar."
    return f"unknown {what} {name!r}; {hint}"


def in_short(untrusted: object, most: int = 300) -> str:
    """Return untrusted text for a message: one printable line of at most `most` characters."""
    line = " ".join(str(untrusted)[: 2 * most].split())
    line = "".join(character if character.isprintable() else "?" for character in line)
    return line if len(line) <= most else line[: most - 1] + "…"


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
