"""Errors and warnings of the harness; each message names the input and how to fix it."""

import difflib
from collections.abc import Iterable

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
