"""Proposals for the name of a method and the slug of an entry, from the title."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from tools.catalog.schema.identifiers import SLUG

MAX_SLUG = 40
MAX_NAME = 25
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COMMON = frozenset(
    ("about", "from", "large", "language", "model", "models", "pruning", "towards", "with")
)


def propose_name(title: str) -> str | None:
    """Return the name of the method in a title: `(OWL)`, or one or two words before a colon."""
    head, colon, _ = title.partition(":")
    head = head.strip()
    if short := re.search(r"\(([A-Z][\w.+-]{1,15})\)", head):
        return short[1]
    if colon and head and len(head) <= MAX_NAME and len(head.split()) <= 2:
        return head
    return None


def propose_slugs(title: str, authors: Sequence[str], year: int | None) -> Iterator[str]:
    """Yield slugs: the name of the method, then first author, year and a word of the title."""
    candidates = [letters(propose_name(title) or "")]
    words = (letters(word) for word in title.split())
    specific = [word for word in words if len(word) > 3 and word not in COMMON]
    family = letters(_family_name(authors[0])) if authors else ""
    if family and year and specific:
        candidates.append(f"{family}{year}{specific[0]}")
    for candidate in candidates:
        slug = re.sub(r"^\d", lambda digit: DIGITS[int(digit[0])], candidate)
        if re.fullmatch(SLUG, slug) and 1 < len(slug) <= MAX_SLUG:
            yield slug


def letters(text: str) -> str:
    """Reduce text to lower-case ASCII letters and digits, without accents."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")
    return re.sub(r"[^a-z0-9]", "", plain.lower())


def _family_name(author: str) -> str:
    suffixes = {"jr", "jr.", "sr", "sr.", "ii", "iii", "iv"}
    return next((word for word in reversed(author.split()) if word.lower() not in suffixes), "")
