"""From what sources write to text that an entry may hold."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import replace

from pylatexenc.latex2text import LatexNodes2Text
from pylatexenc.latexwalker import LatexWalkerError

from tools.catalog.schema.field_types import flaws
from tools.sources.errors import CHECK, Unusable
from tools.sources.facts import Facts

AUTHORS = 5000
TITLE = 300
SHORT = 120


def tidy(facts: Facts) -> Facts:
    """Make every text of a source plain; raises `Unusable` where one cannot be."""
    if len(facts.authors) > AUTHORS:
        raise Unusable(
            f"{facts.source} lists {len(facts.authors):,} authors, more than {AUTHORS:,}", CHECK
        )

    def usable(what: str, text: str | None, most: int = SHORT) -> str | None:
        shown = plain(text or "")
        for message, _ in flaws(shown):
            raise Unusable(f"the {what} of {facts.source} {message}", CHECK)
        if len(shown) > most:
            long = f"a text of {len(shown):,} characters, more than {most}"
            raise Unusable(f"the {what} of {facts.source} holds {long}", CHECK)
        return shown or None

    names = (usable("list of authors", without_homonym(name)) for name in facts.authors)
    notes = list(map(plain, facts.notes))
    title = usable("title", facts.title, TITLE)
    if title and title != " ".join(html.unescape(facts.title or "").split()):
        notes.append(f"{facts.source} has markup or hidden characters in the title, now removed")
    return replace(
        facts,
        title=title,
        authors=tuple(filter(None, names)),
        abstract=facts.abstract and plain(facts.abstract),
        year=facts.year if facts.year and 1950 <= facts.year <= 2100 else None,
        volume=usable("volume", facts.volume),
        number=usable("number", facts.number),
        notes=tuple(notes),
    )


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
    """Return what LaTeX shows: accents composed, groups opened; raises `Unusable` if too deep."""
    # A bare per cent sign is a comment in LaTeX, but never in a title.
    text = re.sub(r"(?<!\\)%", r"\\%", text)
    try:
        shown = LatexNodes2Text(math_mode="text").latex_to_text(text)
    except (LatexWalkerError, RecursionError, ValueError):
        raise Unusable(f"'{text[:60]}' is LaTeX that cannot be read", "write it plainly") from None
    return str(shown)


def in_order(name: str) -> str:
    """Write "Last, First" as "First Last"; other names stay."""
    last, comma, first = (part.strip() for part in name.partition(","))
    return f"{first} {last}" if comma and first else last


def without_homonym(name: str) -> str:
    """Remove the number by which DBLP tells people of one name apart."""
    return re.sub(r"\s+\d{4}$", "", name)


def repositories(*texts: str | None) -> tuple[str, ...]:
    """Return the addresses of code repositories that texts name, once each."""
    pattern = r"https?://(?:www\.)?((?:github|gitlab)\.com/[\w.-]+/[\w.-]+)"
    named = (found for text in texts if text for found in re.findall(pattern, text, re.ASCII))
    return _once(f"https://{name.rstrip('.').removesuffix('.git')}" for name in named)


def pages(first: str | None, last: str | None = None) -> str | None:
    """Write pages as `10323-10337`; None for what is no range of pages."""
    written = f"{first}-{last}" if first and last and last != first else first or ""
    plain_form = re.sub(r"\s*[-‐‑‒–—]+\s*", "-", written.strip())
    return plain_form if re.fullmatch(r"[A-Za-z]?\d+(-[A-Za-z]?\d+)?", plain_form) else None


def day(*parts: int | str | None) -> str | None:
    """Write year, month and day, as far as they are known and possible, as `2023-01-02`."""
    numbers = [int(part) for part in parts if part is not None and str(part).isdecimal()]
    limits = ((1950, 2100), (1, 12), (1, 31))
    known: list[str] = []
    for number, (low, high) in zip(numbers, limits, strict=False):
        if not low <= number <= high:
            break
        known.append(f"{number:02d}")
    return "-".join(known) or None


def _once(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))
