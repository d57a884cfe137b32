"""Errors and warnings of the harness: each message names the input and the way out."""

import difflib
from collections.abc import Iterable

FEW = 40
"""Names that a message lists all of."""


class AtlasError(Exception):
    """Base of every error the harness raises on purpose; `exit_code` is what `atlas` returns."""

    exit_code = 1


class BadInput(AtlasError, ValueError):
    """What was asked for cannot be: a wrong value, name, file or combination (exit code 2)."""

    exit_code = 2


class NumericsError(AtlasError):
    """NaN, infinity or a matrix that cannot be factorised; the message names block and layer."""


class Unavailable(AtlasError):
    """Something outside the program is missing: network, package, disk space, permission."""


class AtlasWarning(UserWarning):
    """A deviation that does not stop a run but that its record must keep."""


def unknown_name(name: str, known: Iterable[str], what: str) -> str:
    """Say that `name` is not a `what`, with the nearest known one, or all where they are few."""
    known, given = list(known), in_short(name, 100)
    near = difflib.get_close_matches(given, known, n=1)
    if near:
        hint = f"did you mean {near[0]!r}?"
    elif len(known) <= FEW:
        hint = "there are " + ", ".join(known) + "."
    else:
        hint = f"none of the {len(known):,} there are is near it."
    return f"unknown {what} {given!r}; {hint}"


def in_short(foreign: object, most: int = 300) -> str:
    """Return the words of others on one line, printable, and not too many of them."""
    words = " ".join(str(foreign)[: 2 * most].split())
    shown = "".join(letter if letter.isprintable() else "?" for letter in words)
    return shown if len(shown) <= most else shown[: most - 1] + "…"
