"""How far titles and names of two sources agree."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from rapidfuzz.fuzz import ratio

SAME = 90.0
"""Titles this similar are of one paper, if a name agrees too."""
LINKED = 70.0
"""The same, where one source gave the other's identifier."""


def similarity(one: str, other: str) -> float:
    """Compare two titles, 0 to 100; a name before a colon, which versions add, does not count."""
    pairs = [(a, b) for a in _forms(one) for b in _forms(other)]
    return max(ratio(a, b) for a, b in pairs)


def same_title(one: str, other: str) -> bool:
    """Whether two titles differ at most in case, accents and punctuation."""
    return _plain(one) == _plain(other)


def same_names(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two lists name the same people in one order, given names perhaps cut short."""
    return len(one) == len(other) and all(
        _last(a) == _last(b) or sorted(_plain(a).split()) == sorted(_plain(b).split())
        for a, b in zip(one, other, strict=True)
    )


def absent(names: Sequence[str], others: Sequence[str]) -> list[str]:
    """Return the names whose family name is not among those of others."""
    known = {*map(_last, others)}
    return [name for name in names if _last(name) not in known]


def share_a_name(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two lists have a family name in common; where one is empty, nobody can say no."""
    return not one or not other or bool({*map(_last, one)} & {*map(_last, other)})


def _plain(text: str) -> str:
    """Reduce to letters and digits: no accents, case or punctuation."""
    letters = unicodedata.normalize("NFKD", text).casefold()
    kept = (c if c.isalnum() else " " for c in letters if not unicodedata.combining(c))
    return " ".join("".join(kept).split())


def _forms(title: str) -> list[str]:
    """The whole title, and what follows a short name and a colon."""
    name, colon, rest = title.partition(":")
    short = colon and len(name.split()) <= 2 and len(rest.split()) >= 4
    return [_plain(title), _plain(rest)] if short else [_plain(title)]


def _last(name: str) -> str:
    return (_plain(name).split() or [""])[-1]
