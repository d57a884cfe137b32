"""Conversion of the texts of sources to plain text."""

from __future__ import annotations

import html
import re
import unicodedata
from itertools import takewhile

from pylatexenc.latex2text import LatexNodes2Text
from pylatexenc.latexwalker import LatexWalkerError

from tools.sources.errors import Malformed


def plain(text: str) -> str:
    """Return text in NFC without tags, entities, LaTeX, control characters and extra spaces."""
    # The HTML of JATS abstracts is often escaped twice.
    text = html.unescape(html.unescape(text))
    text = re.sub(r"<(?!\s)/?[a-zA-Z!?][^<>]*>", "", text)
    if re.search(r"\\|\$[^$]+\$|\{", text):
        text = from_latex(text)
    kept = (c for c in text if c.isspace() or not unicodedata.category(c).startswith("C"))
    return unicodedata.normalize("NFC", " ".join("".join(kept).split()))


def from_latex(text: str) -> str:
    """Convert LaTeX to plain text; raises `Malformed` if it cannot be parsed."""
    # In a title, a per cent sign never starts a comment.
    text = re.sub(r"(?<!\\)%", r"\\%", text)
    try:
        shown = LatexNodes2Text(math_mode="text").latex_to_text(text)
    except (LatexWalkerError, RecursionError, ValueError):
        raise Malformed(f"'{text[:60]}' is invalid LaTeX", "write it as plain text") from None
    return str(shown)


def in_order(name: str) -> str:
    """Return "Last, First" as "First Last", and other names unchanged."""
    last, comma, first = (part.strip() for part in name.partition(","))
    return f"{first} {last}" if comma and first else last


def without_homonym(name: str) -> str:
    """Remove the number that DBLP appends to names shared by several people."""
    first, _, last = name.rstrip().rpartition(" ")
    return first if first and re.fullmatch(r"\d{4}", last) else name


def repositories(*texts: str | None) -> tuple[str, ...]:
    """Return the addresses of code repositories in texts, without duplicates."""
    pattern = r"https?://(?:www\.)?((?:github|gitlab)\.com/[\w.-]+/[\w.-]+)"
    named = (found for text in texts if text for found in re.findall(pattern, text, re.ASCII))
    found = (f"https://{name.rstrip('.').removesuffix('.git')}" for name in named)
    return tuple(dict.fromkeys(found))


def pages(first: str | None, last: str | None = None) -> str | None:
    """Return pages as `10323-10337`, or None if they are not a page range."""
    written = f"{first}-{last}" if first and last and last != first else first or ""
    plain_form = "-".join(part.strip() for part in re.split(r"[-‐‑‒–—]+", written))
    return plain_form if re.fullmatch(r"[A-Za-z]?\d+(-[A-Za-z]?\d+)?", plain_form) else None


def day(*parts: int | str | None) -> str | None:
    """Return a date as `2023-01-02`, `2023-01` or `2023`, up to the first invalid part."""
    written = (str(part) for part in parts if part is not None)
    numbers = map(int, takewhile(str.isdecimal, written))
    limits = ((1950, 2100), (1, 12), (1, 31))
    known: list[str] = []
    for number, (low, high) in zip(numbers, limits, strict=False):
        if not low <= number <= high:
            break
        known.append(f"{number:02d}")
    return "-".join(known) or None
