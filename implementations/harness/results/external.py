"""Methods outside the atlas, by name; needs no torch and runs no code of theirs.

A method is named by its file (`./mymethod.py`, or `./methods.py:MyMethod` if it has several), by
its class (`mypackage.module:MyMethod`), or by the name under which an installed package registers
its class in the entry point group `pruning_atlas.methods`.
"""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from typing import NamedTuple

from implementations.harness.errors import BadInput, in_short, unknown_name
from implementations.harness.results.files import (
    check_printable,
    file_sha256,
    short_path,
    user_path,
)
from implementations.harness.results.record import DENSE, External
from implementations.harness.results.store import IMPLEMENTATIONS, methods

GROUP = "pruning_atlas.methods"
"""Entry point group in which packages register methods: `name = "package.module:Class"`."""


class Reference(NamedTuple):
    """A parsed name: a file or a module, and a class in it ('' for the only one)."""

    file: str
    module: str
    class_name: str


def installed_methods() -> dict[str, str]:
    """Return the methods that installed packages register, as `package.module:Class` by name."""
    own = methods()
    found = {point.name: point.value for point in entry_points(group=GROUP)}
    return {name: value for name, value in sorted(found.items()) if name not in own}


def parse_reference(name: str) -> Reference | None:
    """Parse a file or class; return None for a plain name."""
    path, colon, after = name.rpartition(":")
    if name.endswith(".py"):
        return Reference(name, "", "")
    if colon and path.endswith(".py"):
        return Reference(path, "", after)
    return Reference("", path, after) if colon else None


def check_name(name: str) -> None:
    """Raise `BadInput` unless `name` is a method here, a registered one, a class or a file."""
    reference = parse_reference(name)
    if reference is None:
        # Installed packages are searched last, because that takes longest.
        if name not in methods() and name not in installed_methods():
            known = [*methods(), *installed_methods()]
            entry = f"catalog/papers/{name}.yaml"
            if name.isalnum() and (IMPLEMENTATIONS.parent / entry).is_file():
                raise BadInput(
                    f"{name} is in the catalog, but not implemented here; {entry} has its links"
                )
            raise BadInput(
                f"{unknown_name(name, known, 'method')} To use your own method, give its file, "
                "such as ./mymethod.py"
            )
    elif reference.file and not user_path(reference.file, "METHOD").is_file():
        raise BadInput(f"there is no file {short_path(reference.file)}; give the file of a method")


def slug_of(name: str) -> str:
    """Return the slug of a method outside the atlas, from its file, class or registered name.

    Raises `BadInput` if it is not a letter followed by letters and digits, or taken.
    """
    reference = parse_reference(name)
    if reference is None:
        stem = name
    elif reference.file and not reference.class_name:
        stem = user_path(reference.file, "METHOD").stem
    else:
        stem = reference.class_name
    slug = re.sub(r"[^a-z0-9]", "", stem.lower())
    if not re.fullmatch(r"[a-z][a-z0-9]{0,63}", slug):
        raise BadInput(
            "the name of a method must be a letter followed by letters and digits, got "
            f"{in_short(stem, 100)!r}; rename it"
        )
    if slug in (*methods(), DENSE):
        raise BadInput(f"{slug!r} is a method of the atlas; give yours another name")
    return slug


def file_of(path: str, source: str) -> External:
    """Describe the method in the file `path`; raises `BadInput` if it cannot be read or named."""
    check_printable(source, "METHOD")
    return External(source=source, sha256=file_sha256(user_path(path, "METHOD")))
