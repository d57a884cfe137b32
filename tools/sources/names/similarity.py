"""Similarity of the titles and names of two sources."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from rapidfuzz.fuzz import ratio

SAME = 90.0
"""Similarity from which two titles with a common author belong to the same paper."""
LINKED = 70.0
"""The threshold if one source gave the identifier of the other."""


def similarity(one: str, other: str) -> float:
    """Compare two titles, 0 to 100; a method name before a colon may be missing in one."""
    pairs = [(a, b) for a in _forms(one) for b in _forms(other)]
    return max(ratio(a, b) for a, b in pairs)


def same_title(one: str, other: str) -> bool:
    """Whether two titles are equal except for case, accents and punctuation."""
    return _plain(one) == _plain(other)


def same_names(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two lists name the same people in the same order; given names may be abbreviated."""
    return len(one) == len(other) and all(
        _last(a) == _last(b) or sorted(_plain(a).split()) == sorted(_plain(b).split())
        for a, b in zip(one, other, strict=True)
    )


def absent(names: Sequence[str], others: Sequence[str]) -> list[str]:
    """Return the names whose family name does not occur in `others`."""
    known = {*map(_last, others)}
    return [name for name in names if _last(name) not in known]


def share_a_name(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two lists have a family name in common; true if one is empty."""
    return not one or not other or bool({*map(_last, one)} & {*map(_last, other)})


def _plain(text: str) -> str:
    """Remove accents, case and punctuation."""
    letters = unicodedata.normalize("NFKD", text).casefold()
    kept = (c if c.isalnum() else " " for c in letters if not unicodedata.combining(c))
    return " ".join("".join(kept).split())


def _forms(title: str) -> list[str]:
    """Return the title, and the part after a short name and a colon."""
    name, colon, rest = title.partition(":")
    short = colon and len(name.split()) <= 2 and len(rest.split()) >= 4
    return [_plain(title), _plain(rest)] if short else [_plain(title)]


def _last(name: str) -> str:
    return (_plain(name).split() or [""])[-1]
