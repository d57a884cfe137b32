"""From what sources write to text that an entry may hold."""

from __future__ import annotations

import html
import re
import unicodedata

from pylatexenc.latex2text import LatexNodes2Text
from pylatexenc.latexwalker import LatexWalkerError

from tools.sources.web.errors import Malformed


def plain(text: str) -> str:
    """Return text without tags, entities, LaTeX, control characters and loose spaces, in NFC."""
    # Twice: the HTML of JATS abstracts is often escaped once more.
    text = html.unescape(html.unescape(text))
    text = re.sub(r"<(?!\s)/?[a-zA-Z!?][^<>]*>", "", text)
    if re.search(r"\\|\$[^$]+\$|\{", text):
        text = from_latex(text)
    kept = (c for c in text if c.isspace() or not unicodedata.category(c).startswith("C"))
    return unicodedata.normalize("NFC", " ".join("".join(kept).split()))


def from_latex(text: str) -> str:
    """Return what LaTeX shows: accents composed, groups opened; raises `Malformed` if too deep."""
    # A bare per cent sign is a comment in LaTeX, but never in a title.
    text = re.sub(r"(?<!\\)%", r"\\%", text)
    try:
        shown = LatexNodes2Text(math_mode="text").latex_to_text(text)
    except (LatexWalkerError, RecursionError, ValueError):
        raise Malformed(f"'{text[:60]}' is LaTeX that cannot be read", "write it plainly") from None
    return str(shown)


def in_order(name: str) -> str:
    """Write "Last, First" as "First Last"; other names stay."""
    last, comma, first = (part.strip() for part in name.partition(","))
    return f"{first} {last}" if comma and first else last


def without_homonym(name: str) -> str:
    """Remove the number by which DBLP tells people of one name apart."""
    first, _, last = name.rstrip().rpartition(" ")
    return first if first and re.fullmatch(r"\d{4}", last) else name


def repositories(*texts: str | None) -> tuple[str, ...]:
    """Return the addresses of code repositories that texts name, once each."""
    pattern = r"https?://(?:www\.)?((?:github|gitlab)\.com/[\w.-]+/[\w.-]+)"
    named = (found for text in texts if text for found in re.findall(pattern, text, re.ASCII))
    found = (f"https://{name.rstrip('.').removesuffix('.git')}" for name in named)
    return tuple(dict.fromkeys(found))


def pages(first: str | None, last: str | None = None) -> str | None:
    """Write pages as `10323-10337`; None for what is no range of pages."""
    written = f"{first}-{last}" if first and last and last != first else first or ""
    plain_form = "-".join(part.strip() for part in re.split(r"[-‐‑‒–—]+", written))
    return plain_form if re.fullmatch(r"[A-Za-z]?\d+(-[A-Za-z]?\d+)?", plain_form) else None


def day(*parts: int | str | None) -> str | None:
    """Write year, month and day, as far as they are known and possible, as `2023-01-02`."""
    written = (str(part) for part in parts if part is not None)
    numbers = [int(part) for part in written if part.isdecimal()]
    limits = ((1950, 2100), (1, 12), (1, 31))
    known: list[str] = []
    for number, (low, high) in zip(numbers, limits, strict=False):
        if not low <= number <= high:
            break
        known.append(f"{number:02d}")
    return "-".join(known) or None
